/*
 * The normal case and the view change of ledger/pbft (Castro and Liskov 1999, sections 4.2 and 4.4, for
 * a chain), n = 4, f = 1, Q = 3, a window of two heights, three views. Checked: agreement of commit
 * certificates, and that a certified block names the certified one below it.
 *
 * What is sent stays readable for ever and need not be read: that is loss, delay, duplication and
 * reordering at once. The liar (BYZ) votes for everything in every view, whenever it helps; as a
 * leader it proposes anything to anybody and sends a NEW-VIEW of another subset to everybody; its
 * VIEW-CHANGE brings any certificates that exist, or leaves them out. It cannot forge the honest ones'.
 *
 * Left out: transfer and checkpoints (both heights stay in the window), time, crashes (what was signed
 * is durable), execution. The simulator has these; the model has all interleavings.
 *
 * Height 1 has blocks 1 and 2; height 2 has block 1 on 1, 2 on 2, and 3 on 1. 0 is none.
 *
 * Broken on purpose, each must give a counterexample:
 *   -DQUORUM=2           two votes are a quorum
 *   -DNO_CERTIFICATES    VIEW-CHANGEs leave the prepared certificates out
 *   -DLOWEST_VIEW        a NEW-VIEW takes the certificate of the lowest view
 *   -DNOT_BINDING        the NEW-VIEW's choice binds nobody (shown by a lying leader of view 1)
 *   -DOVERTAKE           height 2 is prepared before height 1 is: certificates that do not chain
 */
#ifndef BYZ
#define BYZ 0
#endif
#ifndef QUORUM
#define QUORUM 3
#endif
#ifndef HEIGHTS
#define HEIGHTS 2
#endif
#define N     4
#define VIEWS 3

/* (node, view, height) and (view, height), heights from 0 here */
#define AT(i, v, h)  ((i) * VIEWS * 2 + (v) * 2 + (h))
#define IN(v, h)     ((v) * 2 + (h))
#define PARENT(b)    ((b) == 2 -> 2 : 1)

byte view[N];
bool changing[N];
bool sent_change[N * VIEWS]; /* VIEW-CHANGE for a view */
byte prepared[N * VIEWS * 2]; /* PREPARE sent */
byte committed[N * VIEWS * 2]; /* COMMIT sent: so it holds the certificate */
byte proposal[VIEWS * 2]; /* of an honest leader: one a place */
byte chosen[N * VIEWS * 2]; /* what the NEW-VIEW that a node took proposes again */
bool told[VIEWS]; /* an honest leader has sent its NEW-VIEW */
byte announced[VIEWS * 2];
byte decided[2]; /* blocks with a commit certificate */

/* Scratch of one step: hidden, no part of the state. */
hidden byte i, v, h, b, k, count, best, best_view, senders, c0, c1, w, old;

#ifdef OVERTAKE
#define BELOW_COMMITTED true
#else
#define BELOW_COMMITTED (h == 0 || committed[AT(i, v, 0)] != 0)
#endif
#ifdef LOWEST_VIEW
#define BETTER (best == 0 || old < best_view)
#else
#define BETTER (best == 0 || old > best_view)
#endif
#define HONEST(x) ((x) != BYZ)
/* Votes of the honest for one block, and the liar's. */
inline count_prepared(vv, hh, bb) {
    count = 1; k = 0;
    do
    :: k < N -> if :: HONEST(k) && prepared[AT(k, vv, hh)] == bb -> count++ :: else fi; k++
    :: else -> break
    od
}
inline count_committed(vv, hh, bb) {
    count = 1; k = 0;
    do
    :: k < N -> if :: HONEST(k) && committed[AT(k, vv, hh)] == bb -> count++ :: else fi; k++
    :: else -> break
    od
}

/* The certificate of the highest view below vv that the VIEW-CHANGEs in senders bring for a height. What an
 * honest one brings follows from its COMMITs: it sent none below vv after its VIEW-CHANGE. The liar may
 * bring the certificate of one view (w, or VIEWS for none), whatever it is. */
inline highest(vv, hh) {
    best = 0; best_view = 0; k = 0;
    do
    :: k < N ->
        old = 0;
        do
        :: old < vv ->
            if
            :: HONEST(k) && (senders >> k & 1) && committed[AT(k, old, hh)] != 0 && BETTER ->
                best = committed[AT(k, old, hh)]; best_view = old
            :: else
            fi;
            old++
        :: else -> break
        od;
        k++
    :: else -> break
    od;
#ifdef NO_CERTIFICATES
    best = 0
#endif
}
/* The liar is among the Q and shows a certificate that exists, of a higher view than the others'. */
inline liar_shows(vv, hh) {
    if
    :: (senders >> BYZ & 1) && w < vv && (best == 0 || w > best_view) ->
        old = 1;
        do
        :: old <= 3 ->
            count_prepared(w, hh, old);
            if :: count >= QUORUM -> best = old; best_view = w :: else fi;
            old++
        :: else -> break
        od
    :: else
    fi
}

/* Section 4.4: height by height, up to the first gap or the first block that does not fit below. */
inline choose(vv) {
    highest(vv, 0);
    liar_shows(vv, 0);
    c0 = best; c1 = 0;
    if
    :: c0 != 0 ->
        highest(vv, 1);
        liar_shows(vv, 1);
        if :: best != 0 && PARENT(best) == c0 -> c1 = best :: else fi
    :: else
    fi
}

/* A set of exactly Q senders of VIEW-CHANGEs for view vv: all but one where Q is 3. */
inline pick_senders(vv) {
    senders = 0;
    if
    :: senders = 7 :: senders = 11 :: senders = 13 :: senders = 14
    fi;
#if QUORUM == 2
    if
    :: skip :: senders = senders & 3 :: senders = senders & 5 :: senders = senders & 6 :: senders = senders & 9
    :: senders = senders & 10 :: senders = senders & 12
    fi;
#endif
    k = 0; count = 0;
    do
    :: k < N ->
        if
        :: (senders >> k & 1) && (!HONEST(k) || sent_change[k * VIEWS + vv]) -> count++
        :: else
        fi;
        k++
    :: else -> break
    od
}

inline some_honest() {
    if
    :: HONEST(0) -> i = 0 :: HONEST(1) -> i = 1 :: HONEST(2) -> i = 2 :: HONEST(3) -> i = 3
    fi;
    v = view[i]
}

inline leave_view() {
    if
    :: v + 1 < VIEWS ->
        view[i] = v + 1; changing[i] = true; sent_change[i * VIEWS + v + 1] = true
    :: else
    fi
}

inline enter_view() {
    if
    :: changing[i] ->
        if
        :: HONEST(v) && told[v] -> /* the leader's one NEW-VIEW */
            changing[i] = false;
            chosen[AT(i, v, 0)] = announced[IN(v, 0)]; chosen[AT(i, v, 1)] = announced[IN(v, 1)]
        :: (HONEST(v) && !told[v] && i == v) || !HONEST(v) ->
            pick_senders(v);
            if
            :: count >= QUORUM ->
                if :: w = VIEWS :: w = 0 :: w = 1 fi;
                choose(v);
                changing[i] = false;
                chosen[AT(i, v, 0)] = c0; chosen[AT(i, v, 1)] = c1;
                if
                :: HONEST(v) ->
                    told[v] = true; announced[IN(v, 0)] = c0; announced[IN(v, 1)] = c1
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

/* At most one proposal a (view, height), on what is accepted below, and not where the NEW-VIEW spoke. */
inline propose() {
    if
    :: i == v && !changing[i] ->
        if
        :: h = 0 :: HEIGHTS == 2 -> h = 1
        fi;
        if
        :: proposal[IN(v, h)] == 0 && chosen[AT(i, v, h)] == 0 ->
            if
            :: h == 0 -> if :: b = 1 :: b = 2 fi
            :: h == 1 && prepared[AT(i, v, 0)] == 1 -> if :: b = 1 :: b = 3 fi
            :: h == 1 && prepared[AT(i, v, 0)] == 2 -> b = 2
            :: else -> b = 0
            fi;
            proposal[IN(v, h)] = b
        :: else
        fi
    :: else
    fi
}

inline prepare() {
    if
    :: h = 0 :: HEIGHTS == 2 -> h = 1
    fi;
    if
    :: !changing[i] && prepared[AT(i, v, h)] == 0 ->
        if
#ifndef NOT_BINDING
        :: chosen[AT(i, v, h)] != 0 -> b = chosen[AT(i, v, h)]
        :: chosen[AT(i, v, h)] == 0 && HONEST(v) -> b = proposal[IN(v, h)]
        :: chosen[AT(i, v, h)] == 0 && !HONEST(v) ->
#else
        :: HONEST(v) -> if :: b = chosen[AT(i, v, h)] :: b = proposal[IN(v, h)] fi
        :: !HONEST(v) ->
#endif
            if :: b = 1 :: b = 2 :: h == 1 -> b = 3 fi
        fi;
        if
        :: b != 0 && (h == 0 || prepared[AT(i, v, 0)] == PARENT(b)) ->
#ifndef OVERTAKE
            if
            :: h == 1 -> count_prepared(v, 0, prepared[AT(i, v, 0)])
            :: else -> count = QUORUM
            fi;
#else
            count = QUORUM;
#endif
            if :: count >= QUORUM -> prepared[AT(i, v, h)] = b :: else fi
        :: else
        fi
    :: else
    fi
}

inline commit() {
    if
    :: h = 0 :: HEIGHTS == 2 -> h = 1
    fi;
    b = prepared[AT(i, v, h)];
    if
    :: !changing[i] && b != 0 && committed[AT(i, v, h)] == 0 && BELOW_COMMITTED ->
        count_prepared(v, h, b);
        if
        :: count >= QUORUM ->
            committed[AT(i, v, h)] = b;
            count_committed(v, h, b);
            if
            :: count >= QUORUM ->
                assert(decided[h] == 0 || decided[h] == b); /* agreement */
                decided[h] = b;
                /* the chain of certificates */
                assert(decided[0] == 0 || decided[1] == 0 || PARENT(decided[1]) == decided[0])
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

active proctype network() {
    do
    :: atomic {
        some_honest();
        if
        :: true -> leave_view()
        :: true -> enter_view()
        :: true -> propose()
        :: true -> prepare()
        :: true -> commit()
        fi;
        i = 0; v = 0; h = 0; b = 0; k = 0; count = 0; best = 0; best_view = 0; senders = 0; c0 = 0;
        c1 = 0; w = 0; old = 0
    }
    od
}
