#!/bin/sh
# test_course_pack.sh - the archive that `course pack` makes is unpacked and built with cc and make
# alone, without zlib and utf8proc; and the installed course works after it was moved.
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

course=$LORIKEET_BUILD_DIR/examples/course
must "the program is there" [ -x "$course" ]

cd "$work" || exit 1
must "pack" "$course" pack course.tar.gz
must "unpack" tar -xzf course.tar.gz
# A compiler without headers finds neither.
check "a library without its header is left out" \
    sh -c "! make -n -C lorikeet-course CC='cc -nostdinc' | grep -q LK_HAVE_"
must "build" make -C lorikeet-course -j2 OPTIMIZE=-O0 WITHOUT="zlib utf8proc"
packed=$work/lorikeet-course/bin/course
check "it needs neither" sh -c "! ldd '$packed' | grep -E 'libz|utf8proc'"
check "init" "$packed" init "$work/my units" --no-memory
cd "$work/my units" || exit 1
sed 's/^#.*/&\n\nAn answer in words./' hw3.answers.md >answers && mv answers hw3.answers.md
for unit in $("$packed" list | awk '/ min / { print $1 }'); do
    "$packed" solution "$unit" --now >"$unit.c"
    check "the solution of $unit passes" "$packed" check "$unit"
done

must "install" cmake --install "$LORIKEET_BUILD_DIR" --prefix "$work/first"
mv "$work/first" "$work/moved here"
installed=$work/moved\ here/bin/course
check "the installed course: init" "$installed" init "$work/installed" --no-memory
cd "$work/installed" || exit 1
check "the starter fails" sh -c "! '$installed' check ex1"
"$installed" solution ex1 --now >ex1.c
check "the solution passes" "$installed" check ex1
check "it can pack itself" "$installed" pack "$work/again.tar.gz"
tally
