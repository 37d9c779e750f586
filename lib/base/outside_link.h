#pragma once

#include <filesystem>

namespace edgecompress {

/// Refuses a symbolic link that leads out of the model folder, before anything is read through it.
///
/// A link may stay inside `folder`, or follow the layout of the Hugging Face cache
/// (snapshots/<revision>/<name> -> ../../blobs/<hash>). A path that is no link passes.
/// Throws Error{Malformed} I7, naming the target.
void refuse_outside_link(const std::filesystem::path& folder, const std::filesystem::path& file);

}  // namespace edgecompress
