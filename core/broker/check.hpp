// MILLRACE_CHECK(condition): an invariant on the path of every message. It is checked in the debug,
// asan and tsan builds, where breaking it aborts with the condition's text; a release build, which
// does check each plain assert(), compiles it away.
#pragma once

#include <cassert>

#ifdef MILLRACE_CHECKS
#define MILLRACE_CHECK(condition) assert(condition)
#else
#define MILLRACE_CHECK(condition) static_cast<void>(sizeof((condition) ? 1 : 0))
#endif
