//! Load from many clients: closed (each sends its next request after its answer), open (requests come on their own,
//! as a Poisson process, whatever is still waiting), and a burst (all at once).

use super::http::Connection;
use super::statistics::Random;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Sends `requests` requests over each connection, one after another; the time until all are answered.
pub fn closed(
    connections: &mut [Connection],
    path: &str,
    body: &[u8],
    requests: usize,
) -> anyhow::Result<Duration> {
    closed_by(connections, requests, |connection| connection.call(path, body))
}

/// As `closed`, with requests of another kind.
pub fn closed_by(
    connections: &mut [Connection],
    requests: usize,
    request: impl Fn(&mut Connection) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Duration> {
    let (begun, request) = (Instant::now(), &request);
    std::thread::scope(|scope| {
        let clients: Vec<_> = connections
            .iter_mut()
            .map(|connection| scope.spawn(move || (0..requests).try_for_each(|_| request(connection))))
            .collect();
        clients.into_iter().try_for_each(join)
    })?;
    Ok(begun.elapsed())
}

/// When requests come, seconds from the begin: a Poisson process of a mean rate of one a second. The same number gives
/// the same arrivals, so that neighbours can be asked alike.
pub fn arrivals(requests: usize, number: u64) -> Vec<f64> {
    let mut random = Random::numbered(number);
    let mut at = 0.0;
    let next = || {
        at += random.until_next(1.0);
        at
    };
    std::iter::repeat_with(next).take(requests).collect()
}

/// Requests that come at `arrivals`, `rate` times as fast; the time from each one's arrival to its answer, seconds.
/// As many may be under way at once as there are connections.
pub fn open(
    connections: &mut [Connection],
    path: &str,
    body: &[u8],
    arrivals: &[f64],
    rate: f64,
) -> anyhow::Result<Vec<f64>> {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let next = &next;
    std::thread::scope(|scope| {
        let clients: Vec<_> = connections
            .iter_mut()
            .map(|connection| {
                scope.spawn(move || {
                    let mut times = Vec::new();
                    while let Some(&arrival) = arrivals.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let arrival = begun + Duration::from_secs_f64(arrival / rate);
                        std::thread::sleep(arrival.saturating_duration_since(Instant::now()));
                        connection.call(path, body)?;
                        times.push(arrival.elapsed().as_secs_f64());
                    }
                    anyhow::Ok(times)
                })
            })
            .collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(join(client)?);
        }
        Ok(all)
    })
}

/// What a burst came to.
pub struct Burst {
    /// From its begin to the last answer, seconds.
    pub makespan: f64,
    /// Each call's time, seconds.
    pub times: Vec<f64>,
    /// Which way each call's instance started.
    pub ways: Vec<String>,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// One call of each path at the same time, over connections that are open already.
pub fn burst(connections: &mut [Connection], paths: &[String], body: &[u8]) -> anyhow::Result<Burst> {
    let barrier = Barrier::new(connections.len() + 1);
    let barrier = &barrier;
    std::thread::scope(|scope| {
        let clients: Vec<_> = connections
            .iter_mut()
            .zip(paths)
            .map(|(connection, path)| {
                scope.spawn(move || {
                    barrier.wait();
                    let begun = Instant::now();
                    let answer = connection.invoke_with_tail(path, body);
                    (begun.elapsed().as_secs_f64(), Instant::now(), answer)
                })
            })
            .collect();
        barrier.wait();
        let begun = Instant::now();
        let mut burst = Burst { makespan: 0.0, times: Vec::new(), ways: Vec::new(), failures: Vec::new() };
        for client in clients {
            let Ok((seconds, ended, answer)) = client.join() else { anyhow::bail!("a client panicked") };
            burst.makespan = burst.makespan.max((ended - begun).as_secs_f64());
            match answer {
                Ok(answer) if answer.status == 200 => {
                    burst.times.push(seconds);
                    burst.ways.push(answer.start());
                }
                Ok(answer) => burst.failures.push(format!("{}: {}", answer.status, answer.text())),
                Err(error) => burst.failures.push(format!("{error:#}")),
            }
        }
        Ok(burst)
    })
}

fn join<Value>(client: std::thread::ScopedJoinHandle<'_, anyhow::Result<Value>>) -> anyhow::Result<Value> {
    client.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
}
