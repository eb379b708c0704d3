//! The pool under load, alone, after panics and after a fork.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_unit_is_done_once_whatever_the_threads() {
    for threads in [1, 2, 3, 5, 7] {
        let pool = Pool::new(threads);
        for units in [0, 1, 2, 7, 16, 17, 100, 1000] {
            let counts: Vec<AtomicUsize> = (0..units).map(|_| AtomicUsize::new(0)).collect();
            pool.run(|team| {
                for _ in 0..3 {
                    team.share(units, |part| {
                        for unit in part {
                            counts[unit].fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    team.meet();
                }
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 3), "{threads} {units}");
        }
    }
}

#[test]
fn a_barrier_publishes_what_others_wrote() {
    for threads in [2, 3] {
        let pool = Pool::new(threads);
        let values: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        for job in 0..50 {
            pool.run(|team| {
                for round in 1..20 {
                    values[team.index()].store(job * 100 + round, Ordering::Relaxed);
                    team.meet();
                    for value in &values {
                        assert_eq!(value.load(Ordering::Relaxed), job * 100 + round);
                    }
                    team.meet();
                }
            });
        }
    }
}

#[test]
fn a_late_thread_loses_its_pieces_to_the_others() {
    let pool = Pool::new(2);
    let by_first = AtomicUsize::new(0);
    pool.run(|team| {
        if team.index() == 1 {
            std::thread::sleep(Duration::from_millis(30));
        }
        team.share(100, |part| {
            if team_index_is_first() {
                by_first.fetch_add(part.len(), Ordering::Relaxed);
            }
        });
    });
    assert_eq!(by_first.load(Ordering::Relaxed), 100);
}

/// The pool's own threads are named, the caller is not one of them.
fn team_index_is_first() -> bool {
    !std::thread::current().name().is_some_and(|name| name.starts_with("draftwood-"))
}

#[test]
fn a_panic_on_any_thread_reaches_the_caller_and_the_pool_goes_on() {
    let pool = Pool::new(3);
    for culprit in 0..3 {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(|team| {
                team.meet();
                assert_ne!(team.index(), culprit, "thread {culprit} fails");
                team.meet();
            });
        }));
        let text = *caught.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains(&format!("thread {culprit} fails")), "{text}");
        let sum = AtomicUsize::new(0);
        pool.run(|team| {
            team.meet();
            sum.fetch_add(team.index() + 1, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 6);
    }
}

#[test]
fn callers_from_several_threads_take_turns() {
    let pool = Pool::new(2);
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let caller = || {
            for _ in 0..20 {
                pool.run(|team| {
                    if team.index() == 0 {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                    team.meet();
                });
            }
        };
        // Joined one by one: how the scope's end waits is invisible to ThreadSanitizer.
        [(); 4].map(|()| scope.spawn(caller)).into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(most.into_inner(), 1);
}

#[test]
fn parked_threads_wake() {
    let pool = Pool::new(2);
    let jobs = AtomicUsize::new(0);
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(3));
        pool.run(|_| {
            jobs.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(jobs.into_inner(), 10);
}

#[test]
fn threads_wait_longer_where_jobs_follow_closely() {
    let mut pool = Pool::new(2);
    pool.spin = SpinLimits { idle: Duration::ZERO, hot: Duration::from_millis(500) };
    let is_hot = || {
        pool.run(|_| {});
        // SAFETY: nobody runs a job.
        unsafe { (*pool.crew.get()).as_ref() }.unwrap().is_hot()
    };
    assert!(!is_hot());
    assert!(is_hot());
    std::thread::sleep(Duration::from_millis(600));
    assert!(!is_hot());
}

#[test]
fn a_pool_that_a_fork_left_behind_starts_anew() {
    // What a child finds: a crew and a holder of another process.
    let pool = Pool::new(2);
    pool.run(|team| team.meet());
    // SAFETY: nobody runs a job.
    let crew = unsafe { (*pool.crew.get()).as_mut() }.unwrap();
    crew.pid = crew.pid.wrapping_add(1);
    pool.turn.leave_to(crew.pid);
    let sum = AtomicUsize::new(0);
    pool.run(|team| {
        team.meet();
        sum.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 2);
}
