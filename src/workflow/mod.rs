//! The stories: one file per command, told from top to bottom.

mod doctor;
mod doctor_agent;
mod load;
mod pull;
mod push;
mod resolve;
mod verify;

pub use doctor::{
    Diagnosis, DoctorReport, DoctorRequest, ImageDiagnosis, Interception, OutputDiagnosis, Problem, Roles, doctor,
};
pub use doctor_agent::{
    AgentDoctorReport, AgentDoctorRequest, EngineDiagnosis, NeededImage, doctor_agent, images_of_agents,
};
pub use load::{LoadReport, LoadRequest, LoadedImage, load};
pub use pull::{PullInput, PullReport, PullRequest, pull};
pub use push::{PushReport, PushRequest, PushedImage, push};
pub use resolve::{resolve, resolve_locked};
pub use verify::verify;
