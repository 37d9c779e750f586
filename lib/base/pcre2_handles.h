#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8

#include <memory>
#include <new>
#include <string_view>

#include <pcre2.h>

namespace edgecompress {

struct Pcre2Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};
template <typename T>
using Pcre2Handle = std::unique_ptr<T, Pcre2Free>;

/// Owns what a pcre2_*_create function returned. Throws std::bad_alloc for nullptr, which these
/// functions return for want of memory only.
template <typename T>
Pcre2Handle<T> pcre2_owned(T* object) {
  if (object == nullptr) throw std::bad_alloc();
  return Pcre2Handle<T>(object);
}

inline PCRE2_SPTR pcre2_units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

/// Throws std::bad_alloc for an error of pcre2_compile or pcre2_match that says that memory is
/// missing; the pattern is not at fault then.
inline void refuse_pcre2_without_memory(int error) {
  if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
}

}  // namespace edgecompress
