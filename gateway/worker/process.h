/*
 * The child process behind a struct worker: starting it, frames to and from it with deadlines, and
 * an error that says how it ended. Inside gateway/worker only.
 */
#ifndef GATEWAY_WORKER_PROCESS_H
#define GATEWAY_WORKER_PROCESS_H

#include <pthread.h>
#include <sys/types.h>

#include "gateway/worker/protocol.h"
#include "gateway/worker/worker.h"

struct process {
    struct worker_config config; /* copies */
    pthread_mutex_t call_mutex;  /* one call at a time */
    pthread_mutex_t send_mutex;  /* a frame is never cut by a cancel; guards fd against it */
    pid_t pid;                   /* 0: none runs */
    int fd;                      /* -1: none */
    uint64_t ended_at_bytes;     /* of memory, for which it was killed; 0: it was not */
    unsigned deaths;             /* in a row */
    uint64_t start_at_ms;        /* not before, on the monotonic clock */
    struct buffer out;
    struct buffer in[2]; /* two, so that a pull can hold one frame while it reads the next */
    bool in_call;
};

struct frame {
    enum frame_type type;
    struct wire_reader payload; /* borrows from one of the in buffers */
};

/* Starts the child where none runs, within the backoff's rules. */
MUST_CHECK enum error_code process_start(struct process *p, struct error *err);
/* deadline_ms: on the monotonic clock. A child that is late or breaks the protocol is killed. */
MUST_CHECK enum error_code process_send(struct process *p, struct buffer *frame,
                                        uint64_t deadline_ms, struct error *err);
/* FRAME_ERROR comes back as the error itself. */
MUST_CHECK enum error_code process_receive(struct process *p, struct buffer *into,
                                           uint64_t deadline_ms, struct frame *ret_frame,
                                           struct error *err);
/* Kills the child because of what it sent. */
enum error_code process_broken(struct process *p, const char *what, struct error *err);
void process_stop(struct process *p);
void process_cancel(struct process *p);

#endif
