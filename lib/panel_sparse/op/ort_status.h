#pragma once

#include <exception>
#include <string>

#include "base/error.h"
#include "ort/ort_api.h"

namespace edgecompress {

/// A status of ONNX Runtime on its way through our code, which owns it.
class StatusError : public std::exception {
 public:
  explicit StatusError(OrtStatus* status) : status_(status) {}
  OrtStatus* status() const { return status_; }
  const char* what() const noexcept override { return "ONNX Runtime reported a failure"; }

 private:
  OrtStatus* status_;
};

inline void check(OrtStatus* status) {
  if (status != nullptr) throw StatusError(status);
}

/// Runs `body`; what it throws becomes the status to return. No exception may cross the C ABI.
template <typename Body>
OrtStatus* as_status(const OrtApi& api, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const StatusError& error) {
    return error.status();
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (...) {
    return api.CreateStatus(ORT_FAIL, "unknown failure in an edgecompress operator");
  }
}

}  // namespace edgecompress
