#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/staged_output.h"

namespace edgecompress {

enum class ResumeMode {
  Auto,   ///< go on with an interrupted run of the same work; refuse one of other work
  Fresh,  ///< delete what an interrupted run left, then as Auto
  Never,  ///< delete it, and leave nothing when this run ends early
};

/// Everything that decides the bytes of a run's output, field by field, in an order that is the
/// same for the same command. A value may have several lines.
using Fingerprint = std::vector<std::pair<std::string, std::string>>;

/// How far a run came.
struct JournalEntry {
  std::string unit;                                 ///< for people: "decoder block 3 of 32"
  std::map<std::string, std::string> output_files;  ///< finished files of the output -> SHA-256
  std::map<std::string, std::string> state_files;   ///< files beside the journal -> SHA-256
  nlohmann::ordered_json data;                      ///< what the run needs to go on
};

/// A journal's file, read back.
struct JournalRecord {
  Fingerprint fingerprint;
  JournalEntry entry;
};

std::string journal_text(const JournalRecord& record);

/// Throws Error{Conflict} O-STATE for anything that journal_text did not write.
/// source: named in errors.
JournalRecord parse_journal(std::string_view text, const std::string& source);

/// Where they differ: one line per field, "field: then X, now Y"; of a long value its first
/// differing line. Empty when they are equal.
std::string fingerprint_difference(const Fingerprint& then, const Fingerprint& now);

/// The journal of a run inside its staged folder. A unit of work counts as finished when its files
/// are on the disk and the journal names them.
class RunJournal {
 public:
  /// Looks at what an earlier run left in `folder`, which must have been opened with
  /// Leftovers::Keep.
  /// Throws Error{Conflict}: O-CHANGED with the differences when it was other work, O-STATE when
  /// its files are not what its journal says.
  RunJournal(StagedFolder& folder, Fingerprint fingerprint, ResumeMode mode);

  /// What the earlier run had finished; nothing when there was none.
  const std::optional<JournalEntry>& resumed() const { return resumed_; }

  /// The entry that counts now: the last that was noted, else what was resumed.
  const std::optional<JournalEntry>& last() const { return last_; }

  /// Notes a finished unit, instead of the one before. Its files must be closed. State files that
  /// it does not name are deleted.
  void record(const JournalEntry& entry);

  bool keeps_records() const { return mode_ != ResumeMode::Never; }

 private:
  bool verify_files(const JournalEntry& entry, std::string& damaged) const;
  void take_up(const std::filesystem::path& journal);

  StagedFolder& folder_;
  const Fingerprint fingerprint_;
  const ResumeMode mode_;
  std::optional<JournalEntry> resumed_;
  std::optional<JournalEntry> last_;
};

/// What an interrupted run with that output had finished: JournalEntry::unit. Nothing when there is
/// nothing to go on with, or it cannot be read.
std::optional<std::string> interrupted_unit(const std::filesystem::path& output);

}  // namespace edgecompress
