// A value or an error code: the return type of the operations of the queues, the bus and the
// disruptor. The interface is the part of std::expected (C++23) that they need.
//
//   Result<int> popped = queue.try_pop();
//   if (!popped) return log(describe(popped.error()));
//   use(*popped);
//
// Thread contract: a value type; nothing is shared.
// Invariant: `*` and `->` need has_value() (asserted); value() throws BadResult if it is false.
#pragma once

#include <cassert>
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace millrace::base {

/// Every way in which an operation of the three libraries can fail. The values from
/// `min_capacity_zero` on name the rule that a configuration violates.
enum class Error : std::uint8_t {
  none,  // there is a value
  full,
  empty,
  timed_out,
  out_of_memory,
  closed,
  stopped,
  not_found,
  too_many_topics,
  empty_value,
  nothing_new,
  claim_empty,
  claim_too_large,
  claim_of_another,
  claim_out_of_order,
  min_capacity_zero,
  min_above_max,
  initial_out_of_range,
  max_too_large,
  growth_factor_too_small,
  shrink_threshold_out_of_range,
};

constexpr std::string_view describe(Error error) {
  switch (error) {
    case Error::none:
      return "no error";
    case Error::full:
      return "full: there is no room";
    case Error::empty:
      return "the queue is empty";
    case Error::timed_out:
      return "timed out";
    case Error::out_of_memory:
      return "out of memory";
    case Error::closed:
      return "closed";
    case Error::stopped:
      return "stopped";
    case Error::not_found:
      return "there is no topic with that name";
    case Error::too_many_topics:
      return "the limit topics_max is reached";
    case Error::empty_value:
      return "the value is an empty handle";
    case Error::nothing_new:
      return "there is no newer value";
    case Error::claim_empty:
      return "a claim must be for at least one event";
    case Error::claim_too_large:
      return "more events claimed at once than the ring holds";
    case Error::claim_of_another:
      return "the claim belongs to another producer";
    case Error::claim_out_of_order:
      return "an older claim is not published yet, or this one was published or given back already";
    case Error::min_capacity_zero:
      return "min_capacity must be above 0";
    case Error::min_above_max:
      return "min_capacity must not exceed max_capacity";
    case Error::initial_out_of_range:
      return "initial_capacity must lie within min_capacity..max_capacity";
    case Error::max_too_large:
      return "max_capacity must not exceed 2^32";
    case Error::growth_factor_too_small:
      return "growth_factor must be above 1 and at most 1e9";
    case Error::shrink_threshold_out_of_range:
      return "shrink_threshold must lie between 0 and 1, both excluded";
  }
  return "unknown error";
}

/// Thrown by value() when there is no value.
class BadResult : public std::runtime_error {
 public:
  explicit BadResult(Error error)
      : std::runtime_error(std::string(describe(error))), error_(error) {}
  [[nodiscard]] Error error() const noexcept { return error_; }

 private:
  Error error_;
};

template <class T>
class Result;

namespace detail {
template <class U, class T>
concept ValueFor =
    std::convertible_to<U&&, T> && !std::same_as<std::remove_cvref_t<U>, Result<T>> &&
    !std::same_as<std::remove_cvref_t<U>, Error>;
}

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  constexpr Result(Error error) noexcept : content_(std::in_place_index<0>, error) {
    assert(error != Error::none);
  }
  template <detail::ValueFor<T> U = T>
  // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): ValueFor excludes Result itself
  constexpr Result(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>)
      : content_(std::in_place_index<1>, std::forward<U>(value)) {}

  [[nodiscard]] constexpr bool has_value() const noexcept { return content_.index() == 1; }
  constexpr explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] constexpr Error error() const noexcept {
    return has_value() ? Error::none : *std::get_if<0>(&content_);
  }

  constexpr T& operator*() & noexcept { return *checked(); }
  constexpr const T& operator*() const& noexcept { return *checked(); }
  constexpr T&& operator*() && noexcept { return std::move(*checked()); }
  constexpr T* operator->() noexcept { return checked(); }
  constexpr const T* operator->() const noexcept { return checked(); }

  constexpr T& value() & {
    require_value();
    return **this;
  }
  constexpr const T& value() const& {
    require_value();
    return **this;
  }
  constexpr T&& value() && {
    require_value();
    return *std::move(*this);
  }
  template <class U>
  [[nodiscard]] constexpr T value_or(U&& other) && {
    return has_value() ? std::move(**this) : static_cast<T>(std::forward<U>(other));
  }

 private:
  constexpr T* checked() noexcept {
    assert(has_value());
    return std::get_if<1>(&content_);
  }
  constexpr const T* checked() const noexcept {
    assert(has_value());
    return std::get_if<1>(&content_);
  }
  constexpr void require_value() const {
    if (!has_value()) throw BadResult(error());
  }

  std::variant<Error, T> content_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  constexpr Result() noexcept = default;
  constexpr Result(Error error) noexcept : error_(error) { assert(error != Error::none); }

  [[nodiscard]] constexpr bool has_value() const noexcept { return error_ == Error::none; }
  constexpr explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] constexpr Error error() const noexcept { return error_; }
  constexpr void value() const {
    if (!has_value()) throw BadResult(error_);
  }

 private:
  Error error_ = Error::none;
};

}  // namespace millrace::base
