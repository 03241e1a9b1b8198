//! The stories: one file per command, told from top to bottom.

mod copy;
mod diff;
mod doctor;
mod doctor_agent;
mod finished;
mod have;
mod inventory;
mod layers;
mod left_out;
mod load;
mod loan;
mod problems;
mod pull;
mod push;
mod recut;
mod repair;
mod report;
mod resolve;
mod scan;
mod serve;
mod sign;
mod standing;
mod state;
pub mod trust;
mod verify;
mod write;

pub use copy::{CopyReport, CopyRequest, copy_bundle};
pub use diff::{Side, diff};
pub use doctor::{
    Diagnosis, DoctorReport, DoctorRequest, ImageDiagnosis, OutputDiagnosis, Roles, ServerDiagnosis, ServerUse,
    UploadDiagnosis, doctor,
};
pub use doctor_agent::{
    AgentDoctorReport, AgentDoctorRequest, EngineDiagnosis, NeededImage, doctor_agent, images_of_agents,
};
pub use have::{Asked, HaveReport, HaveRequest, have};
pub use inventory::{InventoryRequest, inventory};
pub use load::{LoadReport, LoadRequest, LoadedImage, load};
pub use loan::EngineLoan;
pub use problems::{Interception, Problem};
pub use pull::{PullInput, PullReport, PullRequest, pull};
pub use push::{PushReport, PushRequest, PushedImage, push};
pub use recut::{RecutReport, RecutRequest, recut};
pub use repair::{RegistryPlace, RepairReport, RepairRequest, repair};
pub use report::{ReportRequest, ShownFile, report};
pub use resolve::{resolve, resolve_locked};
pub use scan::{ScanRequest, scan, scan_verdict};
pub use serve::{
    CertificateChoice, NotNow, ServeReport, ServeRequest, ServedBundle, ServedCertificate, Serving, serve,
};
pub use sign::{SignReport, SignRequest, sign};
pub use trust::{Trust, TrustSettings, Use};
pub use verify::{Absent, verify, verify_bases};
pub use write::WriteRequest;
