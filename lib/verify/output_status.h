#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/output_writer.h"

namespace edgecompress {

/// What lies under an output's name.
struct PublishedOutput {
  bool is_ours = false;           ///< it has a manifest that can be read
  std::string tool_version;       ///< of the edgecompress that wrote it
  std::uint64_t files = 0;        ///< that the manifest lists
  std::uint64_t bytes = 0;        ///< of them
  std::vector<std::string> gone;  ///< listed files that are absent or have another size, by name
};

/// What a run has written and not published.
struct UnpublishedOutput {
  std::optional<OutputWriter> writer;   ///< of the run that goes on now
  std::optional<std::string> finished;  ///< for people, "decoder block 2 of 4": where the same
                                        ///< command goes on
  std::uint64_t bytes = 0;
};

/// An output and what runs left of it, as far as names and sizes say.
struct OutputStatus {
  std::filesystem::path output;
  std::optional<PublishedOutput> published;      ///< nothing: there is no such folder
  std::optional<UnpublishedOutput> unpublished;  ///< nothing: no run is writing or was interrupted

  /// "running", "interrupted", "complete", "damaged", "foreign" or "absent"; a run that goes on or
  /// was interrupted is named before what lies published beside it.
  std::string state() const;
};

/// Reads the manifest, the journal and the sizes of files; hashes nothing and changes nothing.
OutputStatus status_of(const std::filesystem::path& output);

}  // namespace edgecompress
