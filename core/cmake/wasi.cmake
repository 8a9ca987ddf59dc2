# Toolchain file for WebAssembly: Debian's clang-14, lld-14, llvm-14, wasi-libc,
# libclang-rt-14-dev-wasm32.
# The module that comes out has 128-bit SIMD and no threads, and is a reactor: a page or another
# program loads it and calls its exported functions.
set(CMAKE_SYSTEM_NAME Generic) # CMake does not know WASI
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_C_COMPILER clang-14)
set(CMAKE_C_COMPILER_TARGET wasm32-wasi)
set(CMAKE_AR llvm-ar-14)
set(CMAKE_RANLIB llvm-ranlib-14)
set(CMAKE_SYSROOT /usr)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_EXECUTABLE_SUFFIX_C .wasm)
set(CMAKE_C_FLAGS_INIT "-msimd128 -Wno-unused-command-line-argument")
# -O0: else clang has the module rewritten by whatever wasm-opt is installed.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-O0 -mexec-model=reactor -Wl,--strip-all,--gc-sections")
