// ClientId: the text that names a session, held once by all who need it: the session and its
// connection, for the log. An idle connection is then smaller by a copy.
//
// Threads: constant once made; references to it may be copied and dropped by any thread.
#pragma once

#include <boost/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

namespace millrace::broker {

class ClientId {
 public:
  ClientId() = default;  // the empty text
  ClientId(std::string_view text) : text_(text.empty() ? nullptr : Text::make(text)) {}
  ClientId(const std::string& text) : ClientId(std::string_view(text)) {}
  ClientId(const char* text) : ClientId(std::string_view(text)) {}

  operator std::string_view() const { return text_ ? text_->view() : std::string_view(); }
  std::string_view view() const { return *this; }
  bool empty() const { return !text_; }
  std::size_t size() const { return view().size(); }

  friend bool operator==(const ClientId& one, const ClientId& other) {
    return one.view() == other.view();
  }

 private:
  // The bytes follow it, in the same allocation.
  class Text : public boost::intrusive_ref_counter<Text, boost::thread_safe_counter> {
   public:
    static Text* make(std::string_view text) {
      void* const memory = ::operator new(sizeof(Text) + text.size());
      return new (memory) Text(text);
    }
    static void operator delete(void* memory) { ::operator delete(memory); }
    std::string_view view() const { return {bytes(), bytes_}; }

   private:
    explicit Text(std::string_view text) : bytes_(static_cast<std::uint32_t>(text.size())) {
      std::memcpy(reinterpret_cast<char*>(this + 1), text.data(), text.size());
    }
    const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }

    std::uint32_t bytes_;
  };

  boost::intrusive_ptr<const Text> text_;  // null: empty
};

}  // namespace millrace::broker
