#include "checkpoint/safetensors.h"

#include <cstring>
#include <functional>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file_bytes.h"
#include "support/catch.h"
#include "support/refusal.h"

namespace edgecompress {
namespace {

struct Lie {
  std::string code;
  std::string file;
  std::string words;  ///< that the refusal must hold
};

/// A header of one tensor "t" with these fields.
std::string one(const std::string& fields) { return R"({"t":{)" + fields + "}}"; }

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

std::string two(const std::string& first, const std::string& second) {
  return "{" + entry("a", "F32", "[2]", first) + "," + entry("b", "F32", "[2]", second) + "}";
}

const std::string kGood = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";

std::vector<Lie> length_lies() {
  const std::string header = one(kGood);
  const std::string file = file_of(header, 8);
  return {{"S1", "", "has 0 bytes"},
          {"S1", file.substr(0, 7), "has 7 bytes"},
          {"S2", length_bytes(0) + header, "header is empty"},
          {"S3", length_bytes(100'000'001) + header, "100000001"},
          {"S3", length_bytes(std::uint64_t{1} << 63) + header, "9223372036854775808"},
          {"S3", length_bytes(UINT64_MAX) + header, "18446744073709551615"},
          {"S5", length_bytes(header.size() + 9) + header + "12345678", "only"},
          {"S5", file.substr(0, 30), "only 22 follow"}};
}

std::vector<Lie> syntax_lies() {
  const std::string header = one(kGood);
  const std::string cut = header.substr(0, header.size() - 1);
  return {{"S6", file_of("{\"\xFF\":1}", 0), "byte 2"},
          {"S6", file_of("{\"a\xC0\xAF\":1}", 0), "byte 3"},
          {"S6", file_of("{\"a\xED\xA0\x80\":1}", 0), "byte 3"},
          {"S7", file_of(cut, 8), "not JSON"},
          {"S7", file_of(header + "{}", 8), "not JSON"},
          {"S7", file_of(header + std::string(3, '\0'), 8), "NUL"},
          {"S7", file_of("hello", 0), "hello"},
          {"S7", file_of("{'t':1}", 0), "not JSON"},
          {"S8", file_of("[1,2]", 0), "must be a JSON object"},
          {"S8", file_of("null", 0), "must be a JSON object"},
          {"S8", file_of("\"text\"", 0), "must be a JSON object"},
          {"S9", file_of("\xEF\xBB\xBF" + header, 8), "byte order mark"},
          {"S10", file_of(" " + header, 8), "starts with a blank"},
          {"S10", file_of("\n" + header, 8), "starts with a blank"}};
}

std::vector<Lie> field_lies() {
  const std::string t = entry("t", "F32", "[2]", "[0,8]");
  const auto shaped = [](const std::string& shape) {
    return file_of(one(R"("dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,8])"), 8);
  };
  const auto placed = [](const std::string& offsets) {
    return file_of(one(R"("dtype":"F32","shape":[2],"data_offsets":)" + offsets), 8);
  };
  return {{"S11", file_of("{" + t + "," + t + "}", 8), "\"t\""},
          {"S11", file_of("{" + t + "," + entry("t", "F32", "[2]", "[8,16]") + "}", 16), "\"t\""},
          {"S12", file_of(one(kGood + R"(,"dtype":"F16")"), 8), "\"dtype\" twice"},
          {"S12", file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "appears twice"},
          {"S13", file_of(R"({"__metadata__":{"k":"1","l":"2","k":"3"}})", 0), "\"k\" twice"},
          {"S14", file_of(R"({"__metadata__":{"k":5}})", 0), "found 5"},
          {"S14", file_of(R"({"__metadata__":{"k":{}}})", 0), "found an object"},
          {"S14", file_of(R"({"__metadata__":"x"})", 0), "found text"},
          {"S15", file_of(one(R"("shape":[2],"data_offsets":[0,8])"), 8), "has no dtype"},
          {"S15", file_of(one(R"("dtype":"F32","data_offsets":[0,8])"), 8), "has no shape"},
          {"S15", file_of(one(R"("dtype":"F32","shape":[2])"), 8), "has no data_offsets"},
          {"S15", file_of(R"({"t":7})", 0), "must be an object"},
          {"S16", file_of(one(kGood + R"(,"strides":[1])"), 8), "\"strides\""},
          {"S17", file_of(one(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), 8), "\"F33\""},
          {"S17", file_of(one(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), 8), "BF16"},
          {"S17", file_of(one(R"("dtype":5,"shape":[2],"data_offsets":[0,8])"), 8), "not a string"},
          {"S18", shaped("[-1]"), "-1"},
          {"S18", shaped("[1.0]"), "1.0"},
          {"S18", shaped("[1e0]"), "1e0"},
          {"S18", shaped("[\"2\"]"), "text"},
          {"S18", shaped("[18446744073709551616]"), "18446744073709551616"},
          {"S18", shaped("[9223372036854775808]"), "9223372036854775808"},
          {"S18", shaped("2"), "no array"},
          {"S19", shaped("[4294967296,4294967296]"), "overflows"},
          {"S19", shaped("[4611686018427387904]"), "overflows"},
          {"S20", shaped("[0,4294967296,4294967296]"), "overflow"},
          {"S20", shaped("[4294967296,4294967296,0]"), "overflow"},
          {"S21", shaped("[3]"), "needs 12 bytes, its data_offsets give 8"},
          {"S21", shaped("[1]"), "needs 4 bytes, its data_offsets give 8"},
          {"S21", shaped("[]"), "needs 4 bytes"},
          {"S22", placed("[8,0]"), "before it begins"},
          {"S22", placed("[0]"), "has 1 data_offsets"},
          {"S22", placed("[0,8,8]"), "has 3 data_offsets"},
          {"S22", placed("[0,9223372036854775808]"), "9223372036854775808"},
          {"S22", placed("[0,-8]"), "-8"},
          {"S22", placed("[0,8.0]"), "8.0"},
          {"S22", placed("\"0,8\""), "no array"}};
}

std::vector<Lie> placement_lies() {
  return {{"S23", file_of("{" + entry("a", "F32", "[2]", "[4,12]") + "}", 12), "bytes 0 to 4"},
          {"S24", file_of(two("[0,8]", "[12,20]"), 20), "bytes 8 to 12"},
          {"S24", file_of(two("[12,20]", "[0,8]"), 20), "\"a\" comes next"},
          {"S25", file_of(two("[0,8]", "[4,12]"), 12), "overlap"},
          {"S25", file_of(two("[0,8]", "[0,8]"), 8), "\"a\" and tensor \"b\" overlap"},
          {"S26", file_of(two("[0,8]", "[8,16]"), 19), "3 bytes follow"},
          {"S26", file_of("{}", 1), "1 bytes follow"},
          {"S27", file_of(two("[0,8]", "[8,16]"), 15), "need 16 bytes of data, it has 15"},
          {"S28", file_of("{" + entry("a", "F4", "[3]", "[0,2]") + "}", 2), "whole byte"},
          {"S28", file_of("{" + entry("a", "F6_E2M3", "[2]", "[0,2]") + "}", 2), "whole byte"}};
}

std::vector<Lie> name_lies() {
  const auto named = [](const std::string& name) {
    return file_of("{" + entry(name, "F32", "[2]", "[0,8]") + "}", 8);
  };
  std::string shape9 = "[1,1,1,1,1,1,1,1,2]";
  std::string deep = R"({"t":{"dtype":[[[[1]]]]}})";
  return {
      {"S29", named(""), "empty"},
      {"S30", named("a\\u0000b"), "a\\x00b"},
      {"S30", named("a\\u001b[31m"), "\\x1B"},
      {"S30", named("a\xC2\x9Bx"), "\\xC2\\x9B"},
      {"S30", named("a\\ud800"), "surrogate"},
      {"S31", named(std::string(1025, 'n')), "1025 bytes"},
      {"S31", file_of("{\"" + std::string(9 << 20, 'n') + "\":1}", 0), "bytes"},
      {"S32", file_of("{" + entry("t", "F32", shape9, "[0,8]") + "}", 8), "8 dimensions"},
      {"S33", file_of(deep, 0), "deeper than 4"},
      {"S33", file_of(one(kGood + ",\"x\":" + std::string(100'000, '[')), 8), "deeper than 4"},
      {"S33", file_of(R"({"__metadata__":{"k":")" + std::string((1 << 20) + 1, 'v') + R"("}})", 0),
       "1 MiB"}};
}

std::vector<Lie> other_files() {
  const auto text = [](std::string start) { return start + std::string(200, ' ') + "end"; };
  return {{"S34", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
           "git lfs pull"},
          {"S35", text("<!DOCTYPE html><html>"), "web page"},
          {"S35", text("\n <html lang=en>"), "web page"},
          {"S35", text(std::string("PK\x03\x04\x14\x00\x00\x00\x08\x08", 10)), "zip archive"},
          {"S35", text("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9"), "pickle"},
          {"S35", text(std::string("GGUF\x03\x00\x00\x00", 8)), "GGUF"}};
}

void check_lies(const std::vector<Lie>& lies) {
  REQUIRE_FALSE(lies.empty());
  for (const Lie& lie : lies) {
    INFO("expected " << lie.code << " with \"" << lie.words << "\"");
    const auto refusal =
        refusal_of([&] { parse_safetensors(as_bytes(lie.file), "x.safetensors"); });
    REQUIRE(refusal.has_value());
    INFO(refusal->message);
    CHECK(refusal->code == lie.code);
    CHECK(refusal->kind == ErrorKind::Malformed);
    CHECK(refusal->message.find(lie.words) != std::string::npos);
    CHECK(refusal->message.find("x.safetensors") != std::string::npos);
    CHECK(refusal->message.size() < 1000);
    // what came from the file must not reach a terminal raw
    CHECK(refusal->message.find('\x1b') == std::string::npos);
    CHECK(refusal->message.find('\0') == std::string::npos);
  }
}

TEST_CASE("every lie about lengths is refused by its code", "[checkpoint]") {
  check_lies(length_lies());
}
TEST_CASE("every header that is not the JSON of the format is refused by its code",
          "[checkpoint]") {
  check_lies(syntax_lies());
}
TEST_CASE("every lie in a tensor's fields is refused by its code", "[checkpoint]") {
  check_lies(field_lies());
}
TEST_CASE("every lie about where tensors lie is refused by its code", "[checkpoint]") {
  check_lies(placement_lies());
}
TEST_CASE("every bad name and every limit is refused by its code", "[checkpoint]") {
  check_lies(name_lies());
}
TEST_CASE("other kinds of files are recognised", "[checkpoint]") { check_lies(other_files()); }

TEST_CASE("an unfinished download is refused by its name", "[checkpoint]") {
  const std::string file = file_of(one(kGood), 8);
  const auto refusal =
      refusal_of([&] { parse_safetensors(as_bytes(file), "model.safetensors.incomplete"); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "S35");
}

TEST_CASE("cutting a good file anywhere is refused", "[checkpoint][property]") {
  const std::string file = file_of(two("[0,8]", "[8,16]"), 16);
  for (std::size_t size = 0; size < file.size(); ++size) {
    INFO("first " << size << " bytes");
    CHECK(refusal_of([&] { parse_safetensors(as_bytes(file).first(size), "x"); }).has_value());
  }
  CHECK(parse_safetensors(as_bytes(file), "x").size() == 2);
}

std::size_t accepted(const std::string& file) {
  return parse_safetensors(as_bytes(file), "x.safetensors").size();
}

TEST_CASE("what the format allows is accepted", "[checkpoint]") {
  const std::string header = one(kGood);
  CHECK(accepted(file_of(header + "     ", 8)) == 1);  // trailing blanks
  CHECK(accepted(file_of(header + "\t\n", 8)) == 1);   // other padding
  REQUIRE(one(kGood).size() % 8 != 0);                 // a length that is no multiple of 8
  CHECK(accepted(file_of(header, 8)) == 1);
  CHECK(accepted(file_of("{}", 0)) == 0);
  CHECK(accepted(file_of(R"({"__metadata__":{"format":"pt"}})", 0)) == 0);
  CHECK(accepted(file_of(R"({"__metadata__":null})", 0)) == 0);
  CHECK(accepted(file_of("{" + entry("scalar", "F32", "[]", "[0,4]") + "}", 4)) == 1);
  CHECK(accepted(file_of("{" + entry("../../etc/x y", "F32", "[2]", "[0,8]") + "}", 8)) == 1);
  CHECK(accepted(file_of("{" + entry(std::string(1024, 'n'), "F32", "[2]", "[0,8]") + "}", 8)) ==
        1);
  CHECK(accepted(file_of("{" + entry("t", "F32", "[1,1,1,1,1,1,1,2]", "[0,8]") + "}", 8)) == 1);
  CHECK(accepted(file_of("{" + entry("t", "F4", "[4]", "[0,2]") + "}", 2)) == 1);
}

TEST_CASE("an empty tensor may share its offset with another one", "[checkpoint]") {
  const std::string header =
      "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("empty", "F32", "[0,5]", "[0,0]") +
      "," + entry("b", "F32", "[1]", "[8,12]") + "," + entry("last", "F32", "[0]", "[12,12]") + "}";
  const std::string file = file_of(header, 12);
  const std::vector<TensorEntry> entries = parse_safetensors(as_bytes(file), "x");
  REQUIRE(entries.size() == 4);
  CHECK(entries[0].name == "empty");
  CHECK(entries[1].name == "a");
  CHECK(entries[3].name == "last");
}

TEST_CASE("entries give name, type, shape and bytes at any alignment, in file order",
          "[checkpoint]") {
  const std::string header = "{" + entry("second", "F32", "[1,2]", "[3,11]") + "," +
                             entry("first", "I8", "[3]", "[0,3]") + "," +
                             entry("third", "F8_E4M3", "[2]", "[11,13]") + "}";
  const std::string file = file_of(header, 13);
  const std::vector<TensorEntry> entries = parse_safetensors(as_bytes(file), "x");
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].name == "first");
  CHECK(entries[0].dtype == DType::I8);
  CHECK(entries[1].shape == std::vector<std::int64_t>{1, 2});
  CHECK(entries[1].dtype == DType::F32);
  const std::string data = random_bytes(13, 7);
  CHECK(std::memcmp(entries[1].bytes.data(), data.data() + 3, 8) == 0);
  CHECK(entries[1].bytes.size() == 8);
  CHECK(entries[1].unreadable_dtype.empty());
  CHECK(entries[2].unreadable_dtype == "F8_E4M3");
}

constexpr std::size_t kHostileSize = 100'000'000;

std::string hostile_file(const std::string& start, const std::string& repeated) {
  std::string file = length_bytes(kHostileSize) + start;
  file.reserve(kHostileSize + 8);
  while (file.size() + repeated.size() <= kHostileSize) file += repeated;
  file.resize(kHostileSize + 8, ' ');
  return file;
}

/// Nearly a million tensors, so that all of them are read before the end shows the fault.
std::string million_tensors() {
  std::string file = length_bytes(kHostileSize) + "{";
  file.reserve(kHostileSize + 8);
  for (int i = 0; file.size() < kHostileSize - 200; ++i) {
    file +=
        "\"model.layers." + std::to_string(10'000'000 + i) +
        R"(.self_attn.q_proj.weight_scale":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)";
  }
  file.resize(kHostileSize + 8, ' ');
  return file;
}

/// Processor seconds and peak memory beyond the file of refusing it, measured in a process of its
/// own.
struct Cost {
  double seconds;
  std::int64_t bytes;
};

Cost cost_of_refusal(const std::string& file, const std::string& code) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto refusal = refusal_of([&] { parse_safetensors(as_bytes(file), "x"); });
    ::_exit(refusal && refusal->code == code ? 0 : 1);
  }
  int status = 0;
  struct rusage usage{};
  REQUIRE(::wait4(child, &status, 0, &usage) == child);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  CHECK(WEXITSTATUS(status) == 0);
  return {seconds(usage.ru_utime) + seconds(usage.ru_stime),
          usage.ru_maxrss * std::int64_t{1024} - static_cast<std::int64_t>(file.capacity())};
}

TEST_CASE("a hostile header of 100 MB is refused in seconds and 256 MiB", "[checkpoint]") {
  const auto [code, make] = GENERATE(table<std::string, std::function<std::string()>>(
      {{"S33",
        [] {
          return hostile_file("{", R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)");
        }},
       {"S33", [] { return hostile_file("", "{\"a\":"); }},
       {"S31", [] { return hostile_file("{\"", "n"); }},
       {"S7", [] { return million_tensors(); }}}));
  INFO("expected " << code);
  const std::string file = make();
  [[maybe_unused]] const Cost cost = cost_of_refusal(file, code);
#if !defined(__SANITIZE_ADDRESS__)  // its shadow memory and checks are not edgecompress's cost
  // Machines that run tests are slow and shared; what is to be caught, a cost that grows with the
  // square of the header, would take minutes.
  CHECK(cost.seconds < 4);
  // with the header's own pages, which a mapped file adds, the sum stays below 256 MiB
  CHECK(cost.bytes < (std::int64_t{256} << 20) - static_cast<std::int64_t>(kHostileSize));
#endif
}

}  // namespace
}  // namespace edgecompress
