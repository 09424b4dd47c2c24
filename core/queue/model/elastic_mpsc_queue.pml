/*
 * Promela model of ElasticMpscQueue (../elastic_mpsc_queue.hpp): push, pop, grow and shrink, with every
 * access to shared memory a step of its own. Checked by check.sh for two and three producers. The
 * model's memory is sequentially consistent; the C++ memory orders are checked by ThreadSanitizer.
 *
 * The properties, by the names that the assertions below cite:
 *   FIFO              items are popped in the order of their claims, and in order per producer
 *   CONSERVATION      no item is doubled (assertion) or lost (then the consumer waits for ever, which SPIN
 *                     reports as an invalid end state)
 *   BOUND             never more than MAX positions between head and tail
 *   NO_USE_AFTER_FREE a slot is touched only while the directory names its segment for that position; no
 *                     segment leaks
 *   CONSUMER_PROGRESS the front is not ready only if nothing is claimed, or if the producer that claimed it
 *                     has not published yet
 *
 * These choices are non-deterministic, so that every policy of growing and shrinking is covered: whether a
 * push that would fit goes to make_room() anyway (in the queue the capacity decides), whether it uses the
 * window, and whether the consumer recycles a segment (and into which entry), keeps it in the pool, frees it,
 * or frees one of the pool. The pool holds one segment. Not modelled: reserve (a smaller MAX for some pushes),
 * waiting, statistics.
 */

#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef ITEMS
#define ITEMS 3 /* of each producer */
#endif
#ifndef FEWER
#define FEWER 0 /* items that the first producer pushes less */
#endif
#ifndef SLOTS
#define SLOTS 1 /* of a segment */
#endif
#ifndef MAX
#define MAX 2 /* max_capacity */
#endif
#ifndef BATCH
#define BATCH 1 /* the largest batch, 1 or 2 */
#endif
#define ENTRIES (MAX / SLOTS + 1) /* of the directory; the fewest that the queue's head comment allows */
#define SEGMENTS (ENTRIES + 1)    /* all that can be in the directory and the pool at once */
#define TOTAL (PRODUCERS * ITEMS - FEWER)
#define OWN(id) ((id) == 0 -> ITEMS - FEWER : ITEMS)
#define NONE 255
#define GENERATIONS 2 /* 63 in the queue */

#define ENTRY(position) (((position) / SLOTS) % ENTRIES)
#define CELL(segment, position) ((segment) * SLOTS + (position) % SLOTS)
#define NAMED(segment, position) ((segment) != NONE && dir_segment[ENTRY(position)] == (segment))

/* Segments. The one that the consumer has taken out of the directory stays `used`. */
bool used[SEGMENTS + 1];
byte ready[(SEGMENTS + 1) * SLOTS];
byte item[(SEGMENTS + 1) * SLOTS];

/* Shared. An entry holds segment and generation in one word. */
byte dir_segment[ENTRIES];
byte dir_generation[ENTRIES];
byte pool = NONE;
byte pool_generation = 0;
byte tail = 0;
byte head = 0;
byte head_seen = 0;
/* ClaimWindow */
byte end = 0;
byte window_segment = NONE;
byte window_generation = 0;
bool window_busy = false;

/* For the assertions only: what is at a position, from its claim to its pop; what each producer's
 * next item to be popped is. */
byte claimed[TOTAL];
bool published[TOTAL];
byte expected[PRODUCERS];

/* install_segments() for one position. In the queue, a producer whose compare-and-exchange fails has made a
 * segment, or taken one from the pool, that no other thread has seen: the model does not make or take it. */
inline install(position) {
  if
  :: dir_segment[ENTRY(position)] != NONE
  :: else ->
    atomic { /* compare and exchange */
      if
      :: dir_segment[ENTRY(position)] == NONE && pool != NONE ->
        dir_segment[ENTRY(position)] = pool;
        dir_generation[ENTRY(position)] = pool_generation;
        pool = NONE;
        pool_generation = 0
      :: dir_segment[ENTRY(position)] == NONE -> /* also while another is at the pool */
        k = 0;
        do
        :: used[k] -> k++
        :: else -> break
        od;
        assert(k <= SEGMENTS); /* NO_USE_AFTER_FREE: nothing leaks */
        used[k] = true;
        dir_segment[ENTRY(position)] = k;
        dir_generation[ENTRY(position)] = 1;
        k = 0
      :: else
      fi
    }
  fi
}

/* segment_at() */
inline look_up(position) {
  d_step {
    segment = dir_segment[ENTRY(position)];
    generation = (segment == NONE -> 0 : dir_generation[ENTRY(position)])
  }
}

/* fill(): the item, then the ready byte. */
inline fill(position, value) {
  d_step {
    assert(NAMED(segment, position)); /* NO_USE_AFTER_FREE */
    item[CELL(segment, position)] = value
  };
  d_step {
    assert(NAMED(segment, position)); /* NO_USE_AFTER_FREE */
    assert(ready[CELL(segment, position)] != generation); /* CONSERVATION: no other producer's slot */
    ready[CELL(segment, position)] = generation;
    published[position] = true
  }
}

/* ClaimWindow::move(). The code under `window_busy` is two steps, as far as other producers can observe it; a
 * producer that finds it busy skips, as any producer may. */
inline move_window(position) {
  atomic {
    k = (position) - (position) % SLOTS + SLOTS;
    if
    :: head_seen + MAX < k -> k = head_seen + MAX
    :: else
    fi
  };
  if
  :: atomic { k > end && !window_busy ->
      window_busy = true;
      window_segment = segment;
      window_generation = generation };
    atomic { end = k; window_busy = false }
  :: true /* skips: another producer moves the window, or has moved it */
  fi;
  k = 0
}

proctype Producer(byte id) {
  byte next = 0;  /* items pushed */
  byte count;     /* of this push: one, or a batch of two */
  byte t;
  byte h;
  byte segment = NONE;
  byte generation;
  byte k = 0;

  do
  :: next == OWN(id) -> break
  :: next < OWN(id) ->
    if
    :: count = 1
    :: BATCH == 2 && next + 2 <= OWN(id) -> count = 2
    fi;
retry:
    /* known_room(), or fits(). One step: had the tail moved between the two reads, the claim would fail. */
    if
    :: atomic { tail + count <= end -> t = tail };
      d_step { segment = window_segment; generation = window_generation };
      goto claim
    :: atomic { t = tail; h = head_seen }
    fi;
    if
    :: atomic { h <= t && t - h + count <= MAX -> h = 0 }
    :: atomic { true -> h = 0 };
      /* make_room() */
      h = head;
      head_seen = h;
      if
      :: atomic { h > t -> h = 0; t = 0; goto retry }
      :: atomic { h <= t && t - h >= MAX ->
          /* Full. Waiting for room and trying again stands for the caller's next push. */
          h = 0; t = 0 };
        atomic { tail - head < MAX; goto retry }
      :: atomic { h <= t && t - h < MAX ->
          if
          :: t - h + count > MAX -> count = 1 /* a reported part */
          :: else
          fi;
          h = 0 }
      fi;
      install(t);
      if
      :: count == 2 -> install(t + 1)
      :: else
      fi
    fi;
    if
    :: atomic { dir_segment[ENTRY(t)] == NONE || dir_segment[ENTRY(t + count - 1)] == NONE ->
        t = 0; goto retry } /* to make_room(), sooner or later */
    :: else
    fi;
claim:
    atomic { /* claim() */
      if
      :: tail == t ->
        tail = t + count;
        assert(tail - head <= MAX); /* BOUND */
        claimed[t] = id * ITEMS + next;
        if
        :: count == 2 -> claimed[t + 1] = id * ITEMS + next + 1
        :: else
        fi
      :: else -> t = 0; segment = NONE; generation = 0; goto retry
      fi
    };
    if
    :: segment == NONE ->
      look_up(t + count - 1);
      move_window(t + count - 1);
      look_up(t)
    :: else
    fi;
    fill(t, id * ITEMS + next);
    if
    :: count == 2 && ENTRY(t) == ENTRY(t + 1) -> fill(t + 1, id * ITEMS + next + 1)
    :: count == 2 && ENTRY(t) != ENTRY(t + 1) -> look_up(t + 1); fill(t + 1, id * ITEMS + next + 1)
    :: else
    fi;
    d_step { next = next + count; segment = NONE; generation = 0; t = 0; count = 0 }
  od
}

/* Back to the heap: when it is allocated again, its slots are empty. */
inline free(it) {
  used[it] = false;
  n = 0;
  do
  :: n < SLOTS -> ready[it * SLOTS + n] = 0; n++
  :: else -> break
  od;
  n = 0
}

/* leave_segment(), `front` being past the segment's last slot. */
inline leave_segment() {
  dir_segment[ENTRY(front - 1)] = NONE;
  if
  :: atomic { pool != NONE -> /* look_for_calm(): a spare one back to the heap */
      assert(pool != segment); /* NO_USE_AFTER_FREE */
      free(pool); pool = NONE; pool_generation = 0 }
  :: true
  fi;
  if
  :: atomic { true -> free(segment) }
  :: atomic { pool == NONE -> /* keep */
      pool = segment;
      pool_generation = generation % GENERATIONS + 1 }
  :: atomic { true -> /* recycle: compare and exchange on an empty entry */
      n = 0;
      do
      :: n < ENTRIES && dir_segment[n] == NONE -> break
      :: n < ENTRIES -> n++
      :: else -> break
      od;
      if
      :: n < ENTRIES && dir_segment[n] == NONE ->
        dir_segment[n] = segment;
        dir_generation[n] = generation % GENERATIONS + 1
      :: else -> free(segment) /* none found */
      fi }
  fi;
  d_step { segment = NONE; generation = 0; n = 0 }
}

proctype Consumer() {
  byte front = 0;
  byte segment = NONE;
  byte generation;
  byte value;
  byte n = 0;

  do
  :: front == TOTAL -> break
  :: front < TOTAL ->
    if
    :: segment == NONE ->
      atomic {
        /* CONSUMER_PROGRESS: without a segment, nothing is claimed. */
        assert(dir_segment[ENTRY(front)] != NONE || tail == front);
        dir_segment[ENTRY(front)] != NONE;
        look_up(front)
      }
    :: else
    fi;
    atomic {
      assert(NAMED(segment, front)); /* NO_USE_AFTER_FREE */
      /* CONSUMER_PROGRESS */
      assert(ready[CELL(segment, front)] == generation || tail == front || !published[front]);
      /* Not too early either: a stale byte is not taken for a ready one. */
      assert(ready[CELL(segment, front)] != generation || published[front]);
      ready[CELL(segment, front)] == generation;
      value = item[CELL(segment, front)];
      assert(value == claimed[front]); /* FIFO */
      assert(value % ITEMS == expected[value / ITEMS]); /* FIFO per producer, CONSERVATION */
      expected[value / ITEMS]++;
      item[CELL(segment, front)] = 0;
      claimed[front] = 0;
      published[front] = false;
      value = 0;
      front++
    };
    if
    :: front % SLOTS == 0 -> leave_segment()
    :: else
    fi;
    head = front
  od;
  assert(tail == TOTAL) /* CONSERVATION */
}

init {
  byte i = 0;
  atomic {
    do
    :: i < ENTRIES -> dir_segment[i] = NONE; i++
    :: else -> break
    od;
    used[0] = true; /* the first segment is there from the start */
    dir_segment[0] = 0;
    dir_generation[0] = 1;
    run Consumer();
    i = 0;
    do
    :: i < PRODUCERS -> run Producer(i); i++
    :: else -> break
    od;
    i = 0
  }
}
