# package.sh - is an installed Lorikeet usable? Read by the tests of this folder, after
# tests/check.sh.
here=$LORIKEET_SOURCE_DIR/tests/install

# install_and_move BUILD: installs the build, and moves what came out: $prefix is where it is now.
install_and_move() {
    must "install" cmake --install "$1" --prefix "$work/installed"
    prefix=$work/moved/here
    mkdir -p "$work/moved"
    mv "$work/installed" "$prefix"
    pc=$(dirname "$(find "$prefix" -name lorikeet.pc)")
    lib=$(dirname "$pc")
    check "no path of the build or of the first place is left in the package files" \
        no_match "$work/installed|$1|$LORIKEET_SOURCE_DIR" "$pc"/*.pc "$lib"/cmake/lorikeet/*.cmake
}

no_match() {
    ! grep -nE "$@"
}

# A whole program and one that uses the engine alone, built and run through find_package.
check_find_package() {
    must "find_package: configure" cmake -S "$here/consumer" -B "$work/consumer" \
        -DCMAKE_C_COMPILER="$CC" \
        -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_FIND_PACKAGE_NO_PACKAGE_REGISTRY=ON
    must "find_package: build" cmake --build "$work/consumer"
    check "find_package: run, everything" "$work/consumer/everything"
    check "find_package: run, core alone" "$work/consumer/core_alone"
    check "find_package: run, an operation of one's own" "$work/consumer/own_op"
    mkdir -p "$work/roberta"
    check "find_package: run, Trainer and RoBERTa" "$work/consumer/trainer" "$work/roberta"
}

pkg_config() {
    PKG_CONFIG_LIBDIR=$pc:$(pkg-config --variable=pc_path pkg-config) pkg-config "$@"
}

# The same two programs, built with a plain compiler call.
check_pkg_config() {
    must "pkg-config: version" test "$(pkg_config --modversion lorikeet)" = \
        "$(pkg_config --modversion lorikeet-core)"
    must "pkg-config: compile, everything" "$CC" "$here/consumer/everything.c" \
        -o "$work/everything" \
        $(pkg_config --cflags --libs lorikeet)
    must "pkg-config: compile, core alone" "$CC" "$here/consumer/core_alone.c" \
        -o "$work/core_alone" \
        $(pkg_config --cflags --libs lorikeet-core)
    check "pkg-config: run, everything" env LD_LIBRARY_PATH="$lib" "$work/everything"
    check "pkg-config: run, core alone" env LD_LIBRARY_PATH="$lib" "$work/core_alone"
}
