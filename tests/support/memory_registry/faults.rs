//! Requests that go wrong on purpose.

use super::journal::Request;

/// Which requests go wrong, and how: `Fault::on("GET", "/blobs/").after(1).cut(1000)`.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    method: String,
    path_part: String,
    /// How many matching requests are served well first.
    spared: u32,
    /// How many requests go wrong after those.
    times: u32,
    pub(super) effect: Effect,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Effect {
    pub(super) answer: Option<(u16, Vec<(String, String)>)>,
    pub(super) cut: Option<u64>,
    pub(super) flip: Option<usize>,
}

impl Fault {
    /// Meets requests of this method whose path with query contains `path_part`. Without an effect, all goes well.
    pub(crate) fn on(method: &str, path_part: &str) -> Self {
        let effect = Effect::default();
        Self { method: method.to_owned(), path_part: path_part.to_owned(), spared: 0, times: 1, effect }
    }

    /// Lets this many matching requests pass first.
    pub(crate) fn after(mut self, spared: u32) -> Self {
        self.spared = spared;
        self
    }

    /// Strikes this often instead of once.
    pub(crate) fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Answers with this status instead of doing what was asked; the request's body is read to its end.
    pub(crate) fn answer(mut self, status: u16) -> Self {
        self.effect.answer = Some((status, Vec::new()));
        self
    }

    /// Adds a header to the given answer.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let (_, headers) = self.effect.answer.as_mut().expect("a header goes with `answer`");
        headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Breaks the connection after this many bytes of the body: the answer's, or the request's if it has one.
    pub(crate) fn cut(mut self, bytes: u64) -> Self {
        self.effect.cut = Some(bytes);
        self
    }

    /// Alters the byte at this place of the answer's body.
    pub(crate) fn flip(mut self, place: usize) -> Self {
        self.effect.flip = Some(place);
        self
    }

    fn matches(&self, request: &Request) -> bool {
        self.method == request.method && format!("{}?{}", request.path, request.query).contains(&self.path_part)
    }
}

#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// What happens to this request. Every fault that matches counts it; the first that is due strikes.
    pub(super) fn strike(&mut self, request: &Request) -> Effect {
        let mut effect = None;
        for fault in self.0.iter_mut().filter(|fault| fault.matches(request)) {
            if fault.spared > 0 {
                fault.spared -= 1;
            } else if fault.times > 0 && effect.is_none() {
                fault.times -= 1;
                effect = Some(fault.effect.clone());
            }
        }
        effect.unwrap_or_default()
    }
}
