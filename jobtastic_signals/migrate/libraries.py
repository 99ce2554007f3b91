"""What each name of the other libraries becomes. The page on migrating explains the reasons."""

from __future__ import annotations

from .base import Entries, Library

__all__ = ["LIBRARIES"]

#: Where a lock would have outlived its owner, here nothing is left to clean up.
NO_LOCKS = "nothing; claims end with their owners. release(task, ...) frees one by hand"
NO_BASE = "no base class; set options on the task, and call Jobtastic(app) once"
HERD = "herd_avoidance_timeout={value}"
SIGNIFICANT = "significant_kwargs={value}"
RAISES = 'on_duplicate="raise"'
NO_WAIT = "nothing; no call waits for a lock"
NO_RATE = "nothing; it has no counterpart. Celery's rate_limit counts for each worker alone"

JOBTASTIC = Library(
    name="jobtastic",
    module="jobtastic",
    imports={
        "JobtasticTask": "from jobtastic_signals.compat import JobtasticTask; or a function with @app.task",
        "PROGRESS": "from jobtastic_signals.compat import PROGRESS",
        "BaseCache": "nothing; a cache of your own becomes a store, see the page on extending",
        "WrappedCache": "nothing; set jobtastic_store to the URL of a store",
        "get_cache": "nothing; set jobtastic_store to the URL of a store",
    },
    bases={"JobtasticTask": "the same class of jobtastic_signals.compat; or a function with @app.task"},
    options={
        "significant_kwargs": "significant_kwargs={value}, unchanged; a bare name is enough for plain data",
        "herd_avoidance_timeout": f"{HERD}, unchanged; it counts from the start of the run",
        "cache_duration": "cache_duration={value}, unchanged; it counts from the end of the run",
        "cache_prefix": "cache_prefix={value}, unchanged",
        "memleak_threshold": "memleak_threshold={value}, unchanged; without the base class, a warm-up is not "
        "reported as a leak",
    },
    settings={"JOBTASTIC_CACHE": 'jobtastic_store: "django://alias" for a cache of Django, or a URL'},
    methods={
        "calculate_result": "unchanged with the base class; otherwise the body of the task",
        "update_progress": "unchanged; update_progress(done, total, message=...) works in any task",
        "delay_or_fail": "unchanged; delay_or_fail(task, ...) works with any task",
        "delay_or_eager": "unchanged; delay_or_eager(task, ...) works with any task",
        "async_or_fail": "unchanged; async_or_fail(task, ...) works with any task",
        "async_or_eager": "unchanged; async_or_eager(task, ...) works with any task",
        "delay_or_run": "delay_or_eager, which returns a result in both cases",
        "simulate_async_error": "unchanged with the base class; otherwise backend.mark_as_failure",
        "warn_of_memory_leak": "unchanged with the base class; otherwise a receiver of "
        "events.memory_leak_detected",
        "calc_progress": "nothing; the time left is estimated from the pace and from earlier runs",
        "_get_cache_key": "significant_kwargs with to_str functions, cache_prefix, or key_context",
    },
    texts={"djcelery(": "unchanged with status_routes under /task/; or <jobtastic-progress>"},
)

ONCE = Library(
    name="celery-once",
    module="celery_once",
    imports={
        "QueueOnce": NO_BASE,
        "AlreadyQueued": "DuplicateCallError; its countdown is seconds_left",
    },
    bases={"QueueOnce": f"{NO_BASE}; herd_avoidance_timeout has to be set; {RAISES} refuses as before"},
    options={
        "once": Entries(
            {
                "keys": SIGNIFICANT,
                "timeout": HERD,
                "graceful": 'on_duplicate="drop" if it was true; or "join", which is the default',
                "unlock_before_run": 'on_duplicate="rerun" if it was true: one more run follows',
            },
            absent={"timeout": "herd_avoidance_timeout=3600 was the default; it has to be set"},
        )
    },
    settings={
        "ONCE": Entries(
            {
                "backend": "nothing; the URL of jobtastic_store names the kind of store",
                "settings": Entries(
                    {
                        "url": "jobtastic_store={value}",
                        "location": 'jobtastic_store: "disk://" and {value}',
                        "default_timeout": f"{HERD} on the tasks",
                        "blocking": NO_WAIT,
                        "blocking_timeout": NO_WAIT,
                    }
                ),
            }
        )
    },
    methods={"clear_lock": NO_LOCKS, "raise_or_lock": NO_LOCKS},
)

SINGLETON = Library(
    name="celery-singleton",
    module="celery_singleton",
    imports={
        "Singleton": NO_BASE,
        "clear_locks": NO_LOCKS,
        "DuplicateTaskError": "DuplicateCallError; its task_id is owner",
    },
    bases={"Singleton": f"{NO_BASE}; herd_avoidance_timeout has to be set"},
    options={
        "unique_on": f"{SIGNIFICANT}, as a list",
        "lock_expiry": HERD,
        "raise_on_duplicate": f"{RAISES} if it was true",
    },
    settings={
        "singleton_lock_expiry": f"{HERD} on the tasks",
        "singleton_raise_on_duplicate": f"{RAISES} on the tasks if it was true",
        "singleton_backend_url": "jobtastic_store={value}",
        "singleton_key_prefix": "jobtastic_namespace={value}",
        "singleton_backend_kwargs": "jobtastic_store_options={value}, as far as the store has them",
        "singleton_backend_class": "jobtastic_store; a class of your own becomes a store",
    },
    methods={
        "clear_locks": NO_LOCKS,
        "release_lock": "release(task, ...)",
        "on_duplicate": 'the option on_duplicate: "join", "raise", "drop" or "rerun"; rename the method',
        "generate_lock": "significant_kwargs, cache_prefix or key_context",
    },
)

_HEIMDALL = {
    "unique": "herd_avoidance_timeout, which has to be set",
    "unique_timeout": HERD,
    "unique_raises": f"{RAISES} if it was true",
    "unique_lock_timeout": NO_WAIT,
    "unique_lock_blocking": NO_WAIT,
    "lock_prefix": "jobtastic_namespace",
    "rate_limit_prefix": NO_RATE,
}

HEIMDALL = Library(
    name="celery-heimdall",
    module="celery_heimdall",
    imports={
        "HeimdallTask": NO_BASE,
        "AlreadyQueuedError": "DuplicateCallError; likely_culprit is owner, expires_in is lease_left",
        "RateLimit": NO_RATE,
        "Strategy": NO_RATE,
    },
    bases={"HeimdallTask": NO_BASE},
    options={
        "heimdall": Entries(
            {
                **_HEIMDALL,
                "key": "significant_kwargs with the arguments that {value} uses; [] for a fixed text",
                "unique_wait_for_expiry": "cache_duration if it was true: the seconds after the run",
                "rate_limit": NO_RATE,
                "times": NO_RATE,
                "per": NO_RATE,
            }
        )
    },
    settings={f"heimdall_{name}": instead for name, instead in _HEIMDALL.items() if name != "unique"},
    methods={
        "only_after": "nothing; call a task of its own with cache_duration",
        "setup_redis": "the setting jobtastic_store",
    },
    texts={"celery_heimdall.contrib.inspector": "celery -A proj jobtastic top"},
)

PROGRESS = Library(
    name="celery-progress",
    module="celery_progress",
    imports={
        "ProgressRecorder": "from jobtastic_signals import update_progress",
        "WebSocketProgressRecorder": "from jobtastic_signals import update_progress; no websockets",
        "ConsoleProgressRecorder": "celery -A proj jobtastic watch",
        "Progress": "from jobtastic_signals import task_status",
        "GroupProgress": "from jobtastic_signals import group_progress",
        "PROGRESS_STATE": 'the state is still "PROGRESS"',
    },
    methods={
        "set_progress": "update_progress(done, total, message=description)",
        "increment_progress": "track(iterable), which counts; or update_progress with a count of your own",
        "get_info": "task_status(app, task_id)",
    },
    texts={
        "celery_progress.urls": "status_routes of jobtastic_signals.web.django",
        "celery_progress.websockets": "nothing; pages get server-sent events over plain HTTP",
        "celery_progress:": "the address that the view passes, with a token for the task",
        "celery_progress/": '<script type="module" src="/task/progress.js"></script>',
        "CeleryProgressBar": '<jobtastic-progress src="..."></jobtastic-progress>',
        "celery_progress": "nothing; remove it",
    },
)

LIBRARIES = (JOBTASTIC, ONCE, SINGLETON, HEIMDALL, PROGRESS)
