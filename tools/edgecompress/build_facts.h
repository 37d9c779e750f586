#pragma once

namespace edgecompress::cli {

/// What this build was made of and with.
extern const char* const kBuildCommit;    ///< of the source; "unknown" outside of a git checkout
extern const char* const kBuildCompiler;  ///< name and version
extern const char* const kBuildTorch;     ///< LibTorch's version

}  // namespace edgecompress::cli
