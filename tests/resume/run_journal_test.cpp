#include "resume/run_journal.h"

#include <fstream>
#include <string>

#include "base/error.h"
#include "base/mapped_file.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

const Fingerprint kWork{{"program", "p1"}, {"--bits", "4"}, {"recipe", "a: 1\nb: 2\nc: 3"}};

std::string text_of(const fs::path& path) { return read_text_file(path, 1 << 20); }

/// Starts a run, notes one unit with one output and one state file, writes a file that is not
/// noted, and ends without publishing.
void interrupted_run(const fs::path& target, ResumeMode mode = ResumeMode::Auto) {
  StagedFolder folder(target, {}, ExistingOutput::Refuse, Leftovers::Keep);
  RunJournal journal(folder, kWork, mode);
  JournalEntry entry{.unit = "block 1", .output_files = {}, .state_files = {}, .data = {{"n", 7}}};
  entry.output_files["sub/shard"] = folder.write("sub/shard", "weights");
  StagedFile states = folder.create_state("states-1", 0);
  states.append("hidden");
  entry.state_files["states-1"] = states.close();
  journal.record(entry);
  folder.write("half", "unfinished");
}

std::string refusal(const fs::path& target, const Fingerprint& work) {
  StagedFolder folder(target, {}, ExistingOutput::Refuse, Leftovers::Keep);
  try {
    const RunJournal journal(folder, work, ResumeMode::Auto);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Conflict);
    return concat(error.code(), " ", error.what());
  }
  return "";
}

TEST_CASE("the same work goes on with the noted files and nothing else", "[resume]") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  interrupted_run(target);
  CHECK(interrupted_unit(target) == "block 1");
  {
    StagedFolder folder(target, {}, ExistingOutput::Refuse, Leftovers::Keep);
    const RunJournal journal(folder, kWork, ResumeMode::Auto);
    REQUIRE(journal.resumed());
    CHECK(journal.resumed()->unit == "block 1");
    CHECK(journal.resumed()->data.at("n") == 7);
    CHECK(text_of(folder.path() / "sub/shard") == "weights");
    CHECK(text_of(folder.state_path() / "states-1") == "hidden");
    CHECK_FALSE(fs::exists(folder.path() / "half"));
    folder.publish();
  }
  CHECK(text_of(target / "sub/shard") == "weights");
  CHECK_FALSE(fs::exists(staging_place(target)));
  CHECK_FALSE(interrupted_unit(target));
}

TEST_CASE("a newer note replaces the older and its state files", "[resume]") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  interrupted_run(target);
  StagedFolder folder(target, {}, ExistingOutput::Refuse, Leftovers::Keep);
  RunJournal journal(folder, kWork, ResumeMode::Auto);
  JournalEntry entry = *journal.resumed();
  entry.unit = "block 2";
  StagedFile states = folder.create_state("states-2", 0);
  entry.state_files = {{"states-2", states.close()}};
  journal.record(entry);
  CHECK(interrupted_unit(target) == "block 2");
  CHECK_FALSE(fs::exists(folder.state_path() / "states-1"));
  CHECK(fs::exists(folder.state_path() / "states-2"));
}

TEST_CASE("other work is refused with each field that differs, and nothing is lost", "[resume]") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  interrupted_run(target);
  const std::string text = refusal(
      target,
      {{"program", "p1"}, {"--bits", "8"}, {"recipe", "a: 1\nb: 5\nc: 3"}, {"--keep", "x"}});
  CHECK(text.find("O-CHANGED") == 0);
  CHECK(text.find("--bits: then \"4\", now \"8\"") != std::string::npos);
  CHECK(text.find("recipe, line 2: then \"b: 2\", now \"b: 5\"") != std::string::npos);
  CHECK(text.find("--keep: then absent, now \"x\"") != std::string::npos);
  CHECK(text.find("program") == std::string::npos);
  CHECK(text.find("--fresh") != std::string::npos);
  CHECK(interrupted_unit(target) == "block 1");
  CHECK(refusal(target, kWork).empty());
}

TEST_CASE("a damaged journal or file is refused, never taken for finished work", "[resume]") {
  struct Damage {
    const char* file;
    const char* content;
  };
  for (const Damage& damage :
       {Damage{"resume/state.json", ""}, Damage{"resume/state.json", "{}"},
        Damage{"resume/state.json", R"({"schema": "edgecompress.resume/v2"})"},
        Damage{"resume/state.json", "\xFF\xFE"}, Damage{"resume/states-1", "hiddem"},
        Damage{"resume/states-1", "hidde"}, Damage{"output/sub/shard", "Weights"}}) {
    CAPTURE(damage.file, damage.content);
    const TempDir temp;
    const fs::path target = temp.path() / "out";
    interrupted_run(target);
    std::ofstream(staging_place(target) / damage.file) << damage.content;
    CHECK(refusal(target, kWork).find("O-STATE") == 0);
    StagedFolder folder(target, {}, ExistingOutput::Refuse, Leftovers::Keep);
    const RunJournal journal(folder, kWork, ResumeMode::Fresh);
    CHECK_FALSE(journal.resumed());
    CHECK(fs::is_empty(folder.path()));
  }
}

TEST_CASE("a journal may not name files outside its folders", "[resume]") {
  const std::string hash(64, '0');
  for (const std::string name : {"../x", "/etc/passwd", "a/../../x", ""}) {
    const std::string text = journal_text(
        {.fingerprint = kWork,
         .entry = {
             .unit = "u", .output_files = {{name, hash}}, .state_files = {}, .data = nullptr}});
    CHECK_THROWS_AS(parse_journal(text, "j"), Error);
  }
  for (const std::string name : {"../x", "a/b", ".hidden", ""}) {
    const std::string text = journal_text(
        {.fingerprint = kWork,
         .entry = {
             .unit = "u", .output_files = {}, .state_files = {{name, hash}}, .data = nullptr}});
    CHECK_THROWS_AS(parse_journal(text, "j"), Error);
  }
}

TEST_CASE("a run that shall not be resumed leaves nothing", "[resume]") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  interrupted_run(target, ResumeMode::Never);
  CHECK_FALSE(fs::exists(staging_place(target)));
  interrupted_run(target);
  interrupted_run(target, ResumeMode::Never);  // deletes what the one before left
  CHECK_FALSE(fs::exists(staging_place(target)));
}

TEST_CASE("leftovers of a run that was killed behind its publication are deleted", "[resume]") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  interrupted_run(target);
  fs::remove_all(staging_place(target) / "output");  // renamed away
  CHECK(refusal(target, kWork).empty());
  interrupted_run(target);
  fs::remove_all(staging_place(target) / "output");  // exchanged with an older output
  fs::create_directory(staging_place(target) / "output");
  std::ofstream(staging_place(target) / "output/edgecompress.manifest.json") << "{}";
  CHECK(refusal(target, kWork).empty());
}

TEST_CASE("a folder that only has the name of unpublished files is not touched", "[resume]") {
  const TempDir temp;
  const fs::path precious = temp.write("out.partial/mine.txt", "mine");
  CHECK_THROWS_AS(StagedFolder(temp.path() / "out", {}, ExistingOutput::Refuse), Error);
  CHECK(text_of(precious) == "mine");
  CHECK_FALSE(fs::exists(temp.path() / "out.lock"));
}

}  // namespace
}  // namespace edgecompress
