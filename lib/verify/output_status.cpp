#include "verify/output_status.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/staged_output.h"
#include "resume/run_journal.h"
#include "verify/manifest.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestManifest = std::uint64_t{256} << 20;

bool has_size(const fs::path& path, std::uint64_t bytes) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(path, error))) return false;
  return fs::file_size(path, error) == bytes && !error;
}

/// Of all files in a folder that may change meanwhile.
std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;
    const std::uint64_t size = entry->is_regular_file(gone) ? entry->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

PublishedOutput published_in(const fs::path& folder) {
  PublishedOutput published;
  try {
    const fs::path path = folder / kManifestName;
    const Manifest manifest = parse_manifest(read_text_file(path, kLargestManifest), path.string());
    published.is_ours = true;
    published.tool_version = manifest.tool_version;
    for (const auto& [name, entry] : manifest.files) {
      ++published.files;
      published.bytes += entry.size_bytes;
      if (!has_size(folder / name, entry.size_bytes)) published.gone.push_back(name);
    }
  } catch (const Error&) {  // no manifest, or none of ours
    return {};
  }
  return published;
}

std::optional<UnpublishedOutput> unpublished_of(const fs::path& output) {
  UnpublishedOutput unpublished{.writer = writer_of(output), .finished = interrupted_unit(output)};
  const fs::path place = staging_place(output);
  if (!unpublished.writer && !fs::exists(fs::symlink_status(place))) return std::nullopt;
  unpublished.bytes = bytes_in(place);
  return unpublished;
}

}  // namespace

std::string OutputStatus::state() const {
  if (unpublished) return unpublished->writer ? "running" : "interrupted";
  if (!published) return "absent";
  if (!published->is_ours) return "foreign";
  return published->gone.empty() ? "complete" : "damaged";
}

OutputStatus status_of(const fs::path& output) {
  OutputStatus status{.output = output, .published = {}, .unpublished = unpublished_of(output)};
  if (fs::exists(fs::symlink_status(output))) status.published = published_in(output);
  return status;
}

}  // namespace edgecompress
