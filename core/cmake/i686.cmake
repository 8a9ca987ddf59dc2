# i686.cmake - a toolchain for 32-bit x86 with SSE2: Debian's cross compiler (gcc-i686-linux-gnu;
# gcc-multilib cannot be installed beside other cross compilers). A 64-bit x86 runs the tests by
# itself, with the loader of that compiler's libraries.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_C_COMPILER i686-linux-gnu-gcc)
set(CMAKE_C_FLAGS_INIT "-msse2 -mfpmath=sse")
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/i686-linux-gnu/lib/ld-linux.so.2
    --library-path /usr/i686-linux-gnu/lib)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
