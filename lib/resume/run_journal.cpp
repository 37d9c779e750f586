#include "resume/run_journal.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/kill_point.h"
#include "base/strict_json.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "edgecompress.resume/v1";
constexpr const char* kJournalName = "state.json";
constexpr std::uint64_t kLargestJournal = std::uint64_t{256} << 20;
constexpr std::size_t kShownCharacters = 160;

[[noreturn]] void fail_state(const std::string& what) {
  throw Error(ErrorKind::Conflict, "O-STATE",
              concat(what,
                     "; the interrupted run cannot be continued: give --fresh to delete it "
                     "and begin anew"));
}

std::map<std::string, std::string> text_map(const Json& object) {
  std::map<std::string, std::string> map;
  for (const auto& [key, value] : object.items()) map.emplace(key, value.get<std::string>());
  return map;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos;
}

bool stays_inside(const std::string& name) {
  const fs::path path(name);
  return path.is_relative() && !name.empty() &&
         std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string quoted(const std::optional<std::string>& value) {
  if (!value) return "absent";
  return value->size() <= kShownCharacters
             ? concat('"', *value, '"')
             : concat('"', value->substr(0, kShownCharacters), "...\"");
}

/// Two values of one field; of texts with several lines the first line that differs.
std::string value_difference(const std::string& field, const std::optional<std::string>& then,
                             const std::optional<std::string>& now) {
  if (then && now &&
      (then->find('\n') != std::string::npos || now->find('\n') != std::string::npos)) {
    const std::vector<std::string> before = lines_of(*then);
    const std::vector<std::string> after = lines_of(*now);
    for (std::size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
      const auto line = [i](const std::vector<std::string>& lines) {
        return i < lines.size() ? std::optional(lines[i]) : std::nullopt;
      };
      if (line(before) == line(after)) continue;
      return concat(field, ", line ", i + 1, ": then ", quoted(line(before)), ", now ",
                    quoted(line(after)));
    }
  }
  return concat(field, ": then ", quoted(then), ", now ", quoted(now));
}

/// Bytes that are not UTF-8, as file names may have, become U+FFFD, as in the journal.
Fingerprint as_written(Fingerprint fingerprint) {
  for (auto& [field, value] : fingerprint) {
    value = Json::parse(Json(value).dump(-1, ' ', false, Json::error_handler_t::replace))
                .get<std::string>();
  }
  return fingerprint;
}

std::optional<std::string> value_of(const Fingerprint& fingerprint, const std::string& field) {
  for (const auto& [name, value] : fingerprint) {
    if (name == field) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string journal_text(const JournalRecord& record) {
  Json document{{"schema", kSchema},
                {"unit", record.entry.unit},
                {"fingerprint", Json::array()},
                {"output_files", record.entry.output_files},
                {"state_files", record.entry.state_files},
                {"data", record.entry.data}};
  for (const auto& [field, value] : record.fingerprint) {
    document["fingerprint"].push_back({field, value});
  }
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

JournalRecord parse_journal(std::string_view text, const std::string& source) {
  try {
    const Json document = parse_strict_json(text, source);
    if (document.at("schema") != kSchema) fail_state(concat(source, " has another schema"));
    JournalRecord record;
    for (const Json& field : document.at("fingerprint")) {
      record.fingerprint.emplace_back(field.at(0).get<std::string>(),
                                      field.at(1).get<std::string>());
    }
    record.entry = {.unit = document.at("unit").get<std::string>(),
                    .output_files = text_map(document.at("output_files")),
                    .state_files = text_map(document.at("state_files")),
                    .data = document.at("data")};
    for (const auto& [name, hash] : record.entry.output_files) {
      if (!stays_inside(name)) fail_state(concat(source, " names a file outside the output"));
    }
    for (const auto& [name, hash] : record.entry.state_files) {
      if (!is_plain_name(name)) fail_state(concat(source, " names a file outside its folder"));
    }
    return record;
  } catch (const Json::exception&) {
    fail_state(concat(source, " lacks what a journal has"));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::Conflict) throw;
    fail_state(error.what());
  }
}

std::string fingerprint_difference(const Fingerprint& then, const Fingerprint& now) {
  std::vector<std::string> fields;
  for (const Fingerprint& side : {then, now}) {
    for (const auto& [field, value] : side) {
      if (std::find(fields.begin(), fields.end(), field) == fields.end()) fields.push_back(field);
    }
  }
  std::string difference;
  for (const std::string& field : fields) {
    const std::optional<std::string> before = value_of(then, field);
    const std::optional<std::string> after = value_of(now, field);
    if (before != after) difference += concat("\n  ", value_difference(field, before, after));
  }
  return difference;
}

RunJournal::RunJournal(StagedFolder& folder, Fingerprint fingerprint, ResumeMode mode)
    : folder_(folder), fingerprint_(as_written(std::move(fingerprint))), mode_(mode) {
  const fs::path journal = folder.state_path() / kJournalName;
  if (mode == ResumeMode::Auto && fs::exists(journal)) take_up(journal);
  if (!resumed_) folder_.start_over();
}

void RunJournal::take_up(const fs::path& journal) {
  const JournalRecord record =
      parse_journal(read_text_file(journal, kLargestJournal), journal.string());
  const std::string difference = fingerprint_difference(record.fingerprint, fingerprint_);
  if (!difference.empty()) {
    throw Error(ErrorKind::Conflict, "O-CHANGED",
                concat("an interrupted run left ", record.entry.unit, " in ",
                       folder_.state_path().parent_path().string(),
                       ", but it was other work; give --fresh to delete it and begin anew, or "
                       "another output. What differs:",
                       difference));
  }
  std::string damaged;
  if (!verify_files(record.entry, damaged)) {
    // a run that was killed between publishing and cleaning up has left a journal without its files
    if (folder_.holds_finished_leftovers()) return;
    fail_state(concat(damaged, " is not as ", journal.string(), " says"));
  }
  resumed_ = record.entry;
  last_ = record.entry;
  folder_.keep_unpublished();
  folder_.delete_all_but(record.entry.output_files, record.entry.state_files, kJournalName);
}

bool RunJournal::verify_files(const JournalEntry& entry, std::string& damaged) const {
  const auto all_good = [&](const fs::path& place,
                            const std::map<std::string, std::string>& files) {
    return std::all_of(files.begin(), files.end(), [&](const auto& file) {
      damaged = (place / file.first).string();
      return fs::is_regular_file(fs::symlink_status(damaged)) &&
             sha256_of_file(MappedFile(damaged)) == file.second;
    });
  };
  return all_good(folder_.path(), entry.output_files) &&
         all_good(folder_.state_path(), entry.state_files);
}

void RunJournal::record(const JournalEntry& entry) {
  if (!keeps_records()) return;
  folder_.sync();
  kill_point("journal-before");
  write_file_atomically(folder_.state_path() / kJournalName,
                        journal_text({.fingerprint = fingerprint_, .entry = entry}));
  kill_point("journal-after");
  last_ = entry;
  folder_.keep_unpublished();
  std::set<fs::path> stale;
  for (const fs::directory_entry& file : fs::directory_iterator(folder_.state_path())) {
    const std::string name = file.path().filename().string();
    if (name != kJournalName && entry.state_files.count(name) == 0) stale.insert(file.path());
  }
  for (const fs::path& file : stale) fs::remove(file);
}

std::optional<std::string> interrupted_unit(const fs::path& output) {
  try {
    const fs::path journal = staging_place(output) / "resume" / kJournalName;
    if (!fs::exists(journal)) return std::nullopt;
    return parse_journal(read_text_file(journal, kLargestJournal), journal.string()).entry.unit;
  } catch (const Error&) {
    return std::nullopt;
  } catch (const fs::filesystem_error&) {
    return std::nullopt;
  }
}

}  // namespace edgecompress
