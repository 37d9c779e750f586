#include "checkpoint/file_kind.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"

namespace edgecompress {
namespace {

constexpr std::string_view kConvert =
    "convert it to safetensors (transformers: AutoModelForCausalLM.from_pretrained(folder)"
    ".save_pretrained(new_folder))";

struct Signature {
  std::string_view start;
  std::string_view code;
  std::string_view what;
  std::string_view help;
};

constexpr std::array kSignatures{
    Signature{"version https://git-lfs", "S34", "a Git LFS pointer, not the file itself",
              "run 'git lfs pull' in the folder"},
    Signature{"PK\x03\x04", "S35", "a zip archive, probably a PyTorch checkpoint", kConvert},
    Signature{"\x80\x02", "S35", "a Python pickle, probably a PyTorch checkpoint", kConvert},
    Signature{"\x80\x03", "S35", "a Python pickle", kConvert},
    Signature{"\x80\x04", "S35", "a Python pickle", kConvert},
    Signature{"\x80\x05", "S35", "a Python pickle", kConvert},
    Signature{"GGUF", "S35", "a GGUF file", "use the checkpoint that it was made from"}};

constexpr std::array<std::string_view, 3> kWebPageStarts{"<!doctype", "<html", "<?xml"};

/// The first bytes without leading blanks, in lower case.
std::string lower_start(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  std::string start(first == std::string_view::npos ? "" : text.substr(first, 16));
  std::transform(start.begin(), start.end(), start.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return start;
}

}  // namespace

void refuse_other_file_kinds(std::span<const std::byte> file, const std::string& source) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              std::min<std::size_t>(file.size(), 256));
  for (const Signature& signature : kSignatures) {
    if (text.starts_with(signature.start)) {
      throw Error(ErrorKind::Malformed, std::string(signature.code),
                  concat(source, " is ", signature.what, "; ", signature.help));
    }
  }
  const std::string start = lower_start(text);
  for (const std::string_view page : kWebPageStarts) {
    if (start.starts_with(page)) {
      throw Error(ErrorKind::Malformed, "S35",
                  concat(source,
                         " is a web page, not a model file; download it again (the server "
                         "probably answered with an error or a login page)"));
    }
  }
}

void refuse_unfinished_download(const std::string& source) {
  if (source.ends_with(".incomplete")) {
    throw Error(ErrorKind::Malformed, "S35",
                concat(source, " is an unfinished download; finish or repeat the download"));
  }
}

std::string shown_text(std::string_view text) {
  constexpr std::size_t kLongest = 200;
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool starts_character = (byte & 0xC0) != 0x80;
    if (i >= kLongest && starts_character) return out + "...";
    const bool c1_control =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text[i];
    } else if (byte < 0x20 || byte == 0x7F || c1_control) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 0xF];
      if (c1_control) {
        const auto next = static_cast<unsigned char>(text[++i]);
        out += "\\x";
        out += kHex[next >> 4];
        out += kHex[next & 0xF];
      }
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace edgecompress
