#include <set>

#include <nlohmann/json.hpp>

#include "base/checked_math.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kHeaderAlignment = 8;

std::uint64_t tensor_bytes(const TensorHeader& tensor) {
  return static_cast<std::uint64_t>(num_elements(tensor.shape)) * dtype_bytes(tensor.dtype);
}

}  // namespace

// The JSON is padded with spaces so that the data starts at a multiple of 8.
std::string safetensors_header(const std::vector<TensorHeader>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json document = nlohmann::ordered_json::object();
  if (!metadata.empty()) document["__metadata__"] = metadata;
  std::uint64_t position = 0;
  std::set<std::string> names;
  for (const TensorHeader& tensor : tensors) {
    ensure(names.insert(tensor.name).second, "unique tensor names");
    const std::uint64_t end = position + tensor_bytes(tensor);
    document.push_back({tensor.name,
                        {{"dtype", dtype_name(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {position, end}}}});
    position = end;
  }
  std::string json = document.dump();
  json.resize(
      static_cast<std::size_t>(round_up(static_cast<std::int64_t>(json.size()), kHeaderAlignment)),
      ' ');
  std::string block(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) block[i] = static_cast<char>(json.size() >> (8 * i) & 0xFF);
  return block + json;
}

SafetensorsWriter::SafetensorsWriter(StagedFolder& folder, const std::string& file_name,
                                     std::vector<TensorHeader> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(folder.create(file_name, safetensors_file_bytes(tensors, metadata))),
      tensors_(std::move(tensors)) {
  file_.append(safetensors_header(tensors_, metadata));
}

void SafetensorsWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  while (current_ < tensors_.size() && current_bytes_ == tensor_bytes(tensors_[current_]) &&
         tensors_[current_].name != name) {
    ++current_;
    current_bytes_ = 0;
  }
  ensure(current_ < tensors_.size() && tensors_[current_].name == name,
         "tensors appended in the order of the header");
  current_bytes_ += bytes.size();
  ensure(current_bytes_ <= tensor_bytes(tensors_[current_]), "no more bytes than the tensor has");
  file_.append(bytes);
}

std::string SafetensorsWriter::close() {
  std::uint64_t missing = 0;
  for (std::size_t i = current_; i < tensors_.size(); ++i) missing += tensor_bytes(tensors_[i]);
  ensure(missing == current_bytes_, "every tensor complete");
  return file_.close();
}

std::uint64_t safetensors_file_bytes(const std::vector<TensorHeader>& tensors,
                                     const std::map<std::string, std::string>& metadata) {
  std::uint64_t bytes = safetensors_header(tensors, metadata).size();
  for (const TensorHeader& tensor : tensors) bytes += tensor_bytes(tensor);
  return bytes;
}

}  // namespace edgecompress
