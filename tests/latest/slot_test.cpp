#include "core/latest/slot.hpp"

#include <gtest/gtest.h>

#include <boost/intrusive_ptr.hpp>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "tests/latest/allocation_count.hpp"

namespace millrace::latest {
namespace {

struct Point {
  double x, y, z;
  char unit[5];
};

/// Counts its living objects.
struct Tracked : RefCounted<Tracked> {
  static inline int alive = 0;
  explicit Tracked(int number) : number(number) { ++alive; }
  ~Tracked() { --alive; }
  int number;
};

// A typical class for boost::intrusive_ptr.
struct Foreign {
  mutable std::atomic<std::uint32_t> references{0};
  int number = 0;
};
void slot_add_refs(const Foreign* object, std::uint32_t count) {
  object->references.fetch_add(count, std::memory_order_relaxed);
}
void slot_release_refs(const Foreign* object, std::uint32_t count) {
  if (object->references.fetch_sub(count, std::memory_order_acq_rel) == count) delete object;
}
void intrusive_ptr_add_ref(const Foreign* object) {
  slot_add_refs(object, 1);
}
void intrusive_ptr_release(const Foreign* object) {
  slot_release_refs(object, 1);
}

TEST(Slot, ChoosesItsKindByTheType) {
  static_assert(std::is_same_v<Slot<int>, CellSlot<int>>);
  static_assert(std::is_same_v<Slot<Point>, CellSlot<Point>>);
  static_assert(std::is_same_v<Slot<Ref<Tracked>>, HandleSlot<Ref<Tracked>>>);
  static_assert(std::is_same_v<Slot<boost::intrusive_ptr<Foreign>>,
                               HandleSlot<boost::intrusive_ptr<Foreign>>>);
  static_assert(std::is_same_v<Slot<std::string>, SharedSlot<std::string>>);
}

TEST(Slot, OfHandlesTakesSixteenBytes) {
  EXPECT_EQ(sizeof(Slot<Ref<Tracked>>), 16u);
}

/// Neither a handle nor trivially copyable; counts its living copies, and can be made to throw.
struct Counted {
  explicit Counted(int wanted) : number(wanted) { ++alive; }
  Counted(const Counted& other) : number(other.number) {
    if (number < 0) throw std::runtime_error("not to be copied");
    ++alive;
  }
  ~Counted() { --alive; }
  int number;
  static inline int alive = 0;
};

TEST(SharedSlot, AllocatesNothingWhileNoReaderHoldsAValue) {
  Slot<std::string> slot;
  const std::string value = "short";
  slot.store(value);
  slot.store(value);
  const std::size_t before = allocation_count();
  for (int i = 0; i < 100; ++i) {
    slot.store(value);
    ASSERT_EQ(*slot.load()->value, value);
  }
  EXPECT_EQ(allocation_count(), before);
}

TEST(SharedSlot, LeavesAValueAloneThatIsShared) {
  Slot<std::string> slot;
  slot.store("first");
  const auto first = slot.load();
  for (int i = 0; i < 10; ++i) slot.store(std::to_string(i));
  EXPECT_EQ(*first->value, "first");
  EXPECT_EQ(*slot.load()->value, "9");
}

TEST(SharedSlot, DestroysAReplacedValueThatNoReaderHolds) {
  {
    Slot<Counted> slot;
    for (int i = 0; i < 5; ++i) {
      slot.store(Counted(i));
      EXPECT_EQ(Counted::alive, 1);
    }
    const auto shared = slot.load();
    slot.store(Counted(5));
    EXPECT_EQ(Counted::alive, 2);
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(SharedSlot, KeepsItsValueWhenTheNextCannotBeCopied) {
  Slot<Counted> slot;
  slot.store(Counted(1));
  slot.store(Counted(2));
  EXPECT_THROW(slot.store(Counted(-1)), std::runtime_error);
  EXPECT_EQ(slot.load()->value->number, 2);
  EXPECT_EQ(slot.store(Counted(3)), 3u);
  EXPECT_EQ(slot.load()->value->number, 3);
}

TEST(SharedSlot, TakesOverAlignedValues) {
  struct alignas(128) Wide {
    std::string text;
  };
  Slot<Wide> slot;
  for (const char* text : {"a", "b", "c"}) slot.store(Wide{text});
  const auto newest = slot.load();
  EXPECT_EQ(newest->value->text, "c");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(newest->value.get()) % 128, 0u);
}

template <typename T>
T make(int number);
template <>
int make(int number) {
  return number;
}
template <>
std::string make(int number) {
  return "a string that is long enough to be on the heap: " + std::to_string(number);
}
template <>
Ref<Tracked> make(int number) {
  return make_ref<Tracked>(number);
}
int number_of(int value) {
  return value;
}
int number_of(const Ref<Tracked>& value) {
  return value->number;
}
int number_of(const SharedValue<std::string>& value) {
  return std::stoi(value->substr(value->rfind(' ')));
}

template <typename T>
class EverySlot : public testing::Test {};
using EveryKind = testing::Types<int, std::string, Ref<Tracked>>;
TYPED_TEST_SUITE(EverySlot, EveryKind);

TYPED_TEST(EverySlot, IsEmptyUntilTheFirstStore) {
  Slot<TypeParam> slot;
  EXPECT_FALSE(slot.load());
  EXPECT_EQ(slot.version(), 0u);
}

TYPED_TEST(EverySlot, ReturnsTheNewestValueWithItsVersion) {
  Slot<TypeParam> slot;
  for (int number = 1; number <= 100; ++number) {
    EXPECT_EQ(slot.store(make<TypeParam>(number)), static_cast<Version>(number));
    EXPECT_EQ(slot.version(), static_cast<Version>(number));
    const auto loaded = slot.load();
    ASSERT_TRUE(loaded);
    EXPECT_EQ(number_of(loaded->value), number);
    EXPECT_EQ(loaded->version, static_cast<Version>(number));
  }
}

TYPED_TEST(EverySlot, ReturnsTheSameValueAtEachLoad) {
  Slot<TypeParam> slot;
  slot.store(make<TypeParam>(7));
  EXPECT_EQ(number_of(slot.load()->value), 7);
  EXPECT_EQ(number_of(slot.load()->value), 7);
  EXPECT_EQ(slot.load()->version, 1u);
}

TYPED_TEST(EverySlot, CountsVersionsFromTheGivenStart) {
  Slot<TypeParam> slot(1'000'003);
  EXPECT_FALSE(slot.load());
  EXPECT_EQ(slot.version(), 1'000'003u);
  EXPECT_EQ(slot.store(make<TypeParam>(1)), 1'000'004u);
  EXPECT_EQ(slot.load()->version, 1'000'004u);
}

TYPED_TEST(EverySlot, KeepsALoadedValueValidAfterLaterStores) {
  Slot<TypeParam> slot;
  slot.store(make<TypeParam>(1));
  const auto first = slot.load();
  for (int number = 2; number < 40; ++number) slot.store(make<TypeParam>(number));
  EXPECT_EQ(number_of(first->value), 1);
  EXPECT_EQ(first->version, 1u);
}

TEST(CellSlot, CopiesValuesThatDoNotFillTheirLastWord) {
  struct Odd {
    char text[13];
  };
  Slot<Odd> slot;
  slot.store(Odd{"twelve bytes"});
  EXPECT_STREQ(slot.load()->value.text, "twelve bytes");
  Slot<Point> points;
  points.store({1, 2, 3, "mm"});
  EXPECT_EQ(points.load()->value.z, 3);
  EXPECT_STREQ(points.load()->value.unit, "mm");
}

TEST(CellSlot, HoldsTypesThatCannotBeDefaultConstructed) {
  struct Strict {
    explicit Strict(int n) : number(n) {}
    int number;
  };
  Slot<Strict> slot;
  slot.store(Strict(5));
  EXPECT_EQ(slot.load()->value.number, 5);
}

TEST(HandleSlot, HoldsOneReferenceAndGivesItBack) {
  auto object = make_ref<Tracked>(1);
  {
    Slot<Ref<Tracked>> slot;
    slot.store(object);
    EXPECT_EQ(object->ref_count(), 2u);
    {
      const auto loaded = slot.load();
      EXPECT_EQ(object->ref_count(), 3u);
    }
    EXPECT_EQ(object->ref_count(), 2u);
    slot.store(make_ref<Tracked>(2));
    EXPECT_EQ(object->ref_count(), 1u);
    EXPECT_EQ(Tracked::alive, 2);
  }
  EXPECT_EQ(Tracked::alive, 1);
}

TEST(HandleSlot, StoringTheSameObjectAgainIsANewVersion) {
  auto object = make_ref<Tracked>(1);
  Slot<Ref<Tracked>> slot;
  slot.store(object);
  slot.store(object);
  EXPECT_EQ(slot.load()->version, 2u);
  EXPECT_EQ(object->ref_count(), 2u);
}

TEST(HandleSlot, IsEmptiedByAnEmptyHandle) {
  Slot<Ref<Tracked>> slot;
  slot.store(make_ref<Tracked>(1));
  EXPECT_EQ(slot.store(nullptr), 2u);
  EXPECT_FALSE(slot.load());
  EXPECT_EQ(slot.newest(), nullptr);
  EXPECT_EQ(Tracked::alive, 0);
}

TEST(HandleSlot, ShowsItsWriterTheNewestWithoutAReference) {
  Slot<Ref<Tracked>> slot;
  EXPECT_EQ(slot.newest(), nullptr);
  slot.store(make_ref<Tracked>(9));
  EXPECT_EQ(slot.newest()->number, 9);
  EXPECT_EQ(slot.newest()->ref_count(), 1u);
}

TEST(HandleSlot, TakesBoostsIntrusivePointer) {
  Slot<boost::intrusive_ptr<Foreign>> slot;
  boost::intrusive_ptr<Foreign> object(new Foreign);
  object->number = 4;
  slot.store(object);
  EXPECT_EQ(slot.load()->value->number, 4);
  EXPECT_EQ(object->references.load(), 2u);
}

TEST(SharedValue, IsEmptyByDefault) {
  const SharedValue<std::string> none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.get(), nullptr);
}

}  // namespace
}  // namespace millrace::latest
