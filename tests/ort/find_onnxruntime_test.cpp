#include <optional>

#include <stdlib.h>

#include "ort_fixtures.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

/// Sets an environment variable for one scope.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = ::getenv(name)) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() {
    if (before_) {
      ::setenv(name_, before_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Variable(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

const char* const kVariable = "EDGECOMPRESS_ONNXRUNTIME";

}  // namespace

TEST_CASE("the library named on the command line wins over the environment", "[ort]") {
  const TempDir folder;
  const auto named = folder.write("a.so", "1");
  const auto wished = folder.write("b.so", "2");
  const Variable variable(kVariable, wished.string());
  CHECK(find_onnxruntime(named) == named);
  CHECK(find_onnxruntime({}) == wished);
}

TEST_CASE("without a wish the configured library is found", "[ort]") {
  const Variable variable(kVariable, "");
  CHECK(find_onnxruntime({}) == EDGECOMPRESS_ONNXRUNTIME_CONFIGURED);
}

TEST_CASE("the operator library is the one of the environment, and its absence is said", "[ort]") {
  const TempDir folder;
  const auto wished = folder.write("ops.so", "1");
  {
    const Variable variable("EDGECOMPRESS_OPERATORS", wished.string());
    CHECK(find_operator_library() == wished);
  }
  const auto absent = folder.path() / "absent.so";
  const Variable variable("EDGECOMPRESS_OPERATORS", absent.string());
  const Error error = error_of([] { find_operator_library(); });
  CHECK(error.kind() == ErrorKind::Missing);
  CHECK(words_missing_in(error, {absent.string(), "EDGECOMPRESS_OPERATORS"}) == "");
}

TEST_CASE("a wish that is no file is refused and nothing else is taken instead", "[ort]") {
  const TempDir folder;
  const auto absent = folder.path() / "absent.so";
  const Error named = error_of([&] { find_onnxruntime(absent); });
  CHECK(named.kind() == ErrorKind::Missing);
  CHECK(words_missing_in(named, {absent.string(), "as named"}) == "");
  const Variable variable(kVariable, absent.string());
  const Error wished = error_of([] { find_onnxruntime({}); });
  CHECK(words_missing_in(wished, {absent.string(), "of EDGECOMPRESS_ONNXRUNTIME"}) == "");
}

TEST_CASE("a file that is no library is refused with the loader's words", "[ort]") {
  const TempDir folder;
  const auto text = folder.write("text.so", "this is text");
  const Error error = error_of([&] { OnnxRuntime{text}; });
  CHECK(error.kind() == ErrorKind::Missing);
  CHECK(words_missing_in(error, {"text.so", "does not load", "file too short"}) == "");
}

TEST_CASE("an ONNX Runtime before 1.17 is refused with its version", "[ort]") {
  const Error error = error_of([] { OnnxRuntime{EDGECOMPRESS_OLD_ONNXRUNTIME}; });
  CHECK(error.kind() == ErrorKind::Unsupported);
  CHECK(words_missing_in(error, {"1.16.3", "1.17 or newer"}) == "");
}

}  // namespace edgecompress
