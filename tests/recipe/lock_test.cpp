#include "recipe/lock.h"

#include "base/error.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

using Catch::Matchers::Contains;
namespace fs = std::filesystem;

TEST_CASE("a lock accepts the files it was made with and names every other", "[recipe]") {
  const TempDir folder;
  fs::create_directory(folder.path() / "model");
  fs::create_directory(folder.path() / "locks");
  folder.write("model/config.json", "{}");
  folder.write("model/model.safetensors", "weights");
  folder.write("model/notes.txt", "not read by edgecompress");
  folder.write("calib.txt", "some text");
  folder.write("train.txt", "more text");
  folder.write(
      "r.ec.yaml",
      "schema: edgecompress.recipe/v1\nname: r\ncalibration: { text: calib.txt }\n"
      "steps: [{ id: q, quantize: { method: rtn } }, { id: t, recover: { text: train.txt } "
      "}]\n");
  const fs::path model = folder.path() / "model";
  const fs::path lock = folder.path() / "locks/r.lock.yaml";
  const Recipe recipe = read_recipe(folder.path() / "r.ec.yaml");
  folder.write("locks/r.lock.yaml", locked_recipe(recipe, model, lock));

  const Recipe locked = read_recipe(lock);
  CHECK(fs::equivalent(locked.calibration->text, folder.path() / "calib.txt"));
  const auto& training = std::get<RecoverStep>(locked.steps.at(1).action);
  CHECK(fs::equivalent(training.text.text, folder.path() / "train.txt"));
  CHECK_NOTHROW(check_lock(locked, model));
  CHECK_NOTHROW(check_lock(recipe, model));  // has no lock
  CHECK(locked_recipe(locked, model, lock) == locked_recipe(recipe, model, lock));

  folder.write("model/model.safetensors", "Weights");
  folder.write("model/tokenizer.json", "{}");
  folder.write("calib.txt", "other text");
  folder.write("train.txt", "other text too");
  try {
    check_lock(locked, model);
    FAIL("accepted other inputs");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Conflict);
    CHECK_THAT(error.what(), Contains("model.safetensors: sha256") &&
                                 Contains("tokenizer.json: not in the lock") &&
                                 Contains("calib.txt: sha256") && Contains("train.txt: sha256") &&
                                 !Contains("config.json"));
  }
}

}  // namespace
}  // namespace edgecompress
