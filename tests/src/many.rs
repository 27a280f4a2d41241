//! Many commands at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::{Command, Output};

/// Runs all commands, `number` of them at a time, and returns how they ended, in no order.
///
/// # Panics
/// One takes too long.
pub fn at_once<'lab>(number: usize, commands: impl IntoIterator<Item = Command<'lab>>) -> Vec<Output> {
    let waiting = Mutex::new(commands.into_iter().collect::<Vec<_>>());
    let ended = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..number {
            scope.spawn(|| {
                loop {
                    let Some(command) = lock(&waiting).pop() else { return };
                    let output = command.output();
                    lock(&ended).push(output);
                }
            });
        }
    });
    ended.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
