#!/bin/sh
# test_course_pack.sh - the archive that `course pack` makes is unpacked and built with cc and make
# alone, without zlib, jansson and utf8proc; and the installed course works after it was moved.
. "$LORIKEET_SOURCE_DIR/tests/check.sh"

course=$LORIKEET_BUILD_DIR/examples/course
must "the program is there" [ -x "$course" ]

cd "$work" || exit 1
must "pack" "$course" pack course.tar.gz
must "unpack" tar -xzf course.tar.gz
# A compiler without headers finds none of the three.
check "a library without its header is left out" \
    sh -c "! make -n -C lorikeet-course CC='cc -nostdinc' | grep -q LK_HAVE_"
must "build" make -C lorikeet-course -j2 OPTIMIZE=-O0 WITHOUT="zlib jansson utf8proc"
packed=$work/lorikeet-course/bin/course
check "it needs none of the three" sh -c "! ldd '$packed' | grep -E 'libz|jansson|utf8proc'"
check "init" "$packed" init "$work/my units" --no-memory
cd "$work/my units" || exit 1
"$packed" list >"$work/list"
check "units that need more are listed as such" grep -q "hw2.*needs jansson" "$work/list"
check "a unit without what it needs says so" sh -c "! '$packed' check hw2 >'$work/hw2'"
check "by name" grep -q "needs jansson" "$work/hw2"
sed 's/^#.*/&\n\nAn answer in words./' hw3.answers.md >answers && mv answers hw3.answers.md
for unit in $(awk '/ min / && !/needs/ { print $1 }' "$work/list"); do
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
