#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace edgecompress::cli {

/// Instruction sets of this processor that edgecompress's kernels make use of, slowest first:
/// "scalar", "avx2".
std::vector<std::string> instruction_set_names();

/// What `--version --json` prints. Schema edgecompress.version/v1.
nlohmann::ordered_json version_json();

/// What the machine and the cgroup give, what a run takes of it, and what is read and written.
/// Schema edgecompress.limits/v1.
nlohmann::ordered_json limits_json();

}  // namespace edgecompress::cli
