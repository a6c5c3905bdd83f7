//! How long a function takes from the start of its process to its first poll and its first answer.

use serde_json::Value;
use tokio::time::Instant;

use crate::figures::{Design, Figures, Run, Start, Step, Workload};
use crate::measure::{self, Programs};
use crate::process::cpu_time;
use crate::support::runtime_api::{Function, LambdaProcess};
use crate::world::World;

const HELLO: &str = "hello";
const INGEST: &str = "ingest";
const INGEST_HTTPS: &str = "ingest, HTTPS";

/// Starts each function so often, in turn.
pub async fn measure(world: &World, programs: &Programs, times: usize, figures: &mut Figures) {
    world.endpoint.set_delay(std::time::Duration::ZERO);
    let event = world.first_events.event();
    let mut starts = [HELLO, INGEST, INGEST_HTTPS].map(|name| start(name, programs));
    for _ in 0..times {
        for start in &mut starts {
            let function = match start.name.as_str() {
                HELLO => hello(programs),
                name => measure::function(world, programs, &run(name == INGEST_HTTPS)),
            };
            one(start, function, &event).await;
            let bodies = world.endpoint.take();
            assert_eq!(
                bodies.len(),
                usize::from(start.name != HELLO),
                "{}",
                start.name
            );
        }
        let steps = measure::start_steps(world, programs, &run(false)).await;
        keep(
            &mut figures.start_steps,
            &steps.expect("the steps of a start"),
        );
    }
    figures.starts = starts.into();
}

fn start(name: &str, programs: &Programs) -> Start {
    let binary = if name == HELLO { HELLO } else { INGEST };
    let binary = std::fs::metadata(programs.folder.join(binary)).expect("a release binary");
    Start {
        name: name.to_owned(),
        binary_bytes: binary.len(),
        first_poll_s: Vec::new(),
        first_answer_s: Vec::new(),
        cpu_s: Vec::new(),
    }
}

fn hello(programs: &Programs) -> Function {
    Function::new(
        programs.folder.join(HELLO),
        std::time::Duration::from_secs(10),
    )
}

/// As for an object of its own.
fn run(https: bool) -> Run {
    Run {
        design: Design::Brigade,
        workload: Workload::OneMegabyte,
        https,
        level: None,
        in_flight: Some(4),
        delay_ms: 0,
        batch_bytes: None,
        plain_bytes: 0,
        source_bytes: 0,
        objects: 1,
        samples: Vec::new(),
    }
}

async fn one(start: &mut Start, function: Function, event: &[u8]) {
    let lambda = LambdaProcess::new(function);
    let began = Instant::now();
    let answer = lambda.invoke(event).await;
    start.first_answer_s.push(began.elapsed().as_secs_f64());
    let cpu = cpu_time(lambda.process_id().expect("it was started"));
    answer.unwrap_or_else(|error| panic!("{error:?}\n{}", lambda.logs()));
    let first_poll = lambda.time_to_first_poll().expect("it polled");
    start.first_poll_s.push(first_poll.as_secs_f64());
    start.cpu_s.push(cpu.as_secs_f64());
}

fn keep(steps: &mut Vec<Step>, measured: &Value) {
    for each in measured.as_array().into_iter().flatten() {
        let name = each["step"].as_str().unwrap_or_default();
        let seconds = each["seconds"].as_f64().unwrap_or_default();
        match steps.iter_mut().find(|step| step.step == name) {
            Some(step) => step.seconds.push(seconds),
            None => steps.push(Step {
                step: name.to_owned(),
                seconds: vec![seconds],
            }),
        }
    }
}
