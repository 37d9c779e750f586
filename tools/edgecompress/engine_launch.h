#pragma once

#include <string>
#include <vector>

namespace edgecompress::cli {

/// Replaces this process by edgecompress-engine with the same arguments, after setting what
/// LibTorch reads when it is loaded: MKL's reproducible mode, passive waiting of OpenMP's threads,
/// the number of threads. Returns only by an exception: Error{Missing} when the engine is not
/// beside this program or in ../libexec/edgecompress.
[[noreturn]] void start_engine(const std::vector<std::string>& arguments, int num_threads);

/// Throws std::logic_error unless the environment is what start_engine sets.
void ensure_engine_environment();

}  // namespace edgecompress::cli
