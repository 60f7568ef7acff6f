"""What a notebook imports."""

from c2sflow.common.threads import let_threads_sleep

let_threads_sleep()  # torch, which comes later, reads it when it is loaded
