// The wait strategies of a ring: those of core/base/wait.hpp.
#pragma once

#include "core/base/wait.hpp"

namespace millrace::disruptor {

using base::AnyWait;
using base::Block;
using base::Clock;
using base::never;
using base::Parker;
using base::Spin;
using base::WaitKind;
using base::Yield;

}  // namespace millrace::disruptor
