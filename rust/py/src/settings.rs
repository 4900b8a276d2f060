//! The settings of connections of a kind: read from Python once, shared by all of them.

use std::sync::Arc;

use fastws_core::deflate::{Terms, Tuning};
use fastws_core::{Config, Delivery, Limits, Role};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::hub::BusyPoll;
use crate::queue::Form;
use crate::{clock, entropy};

/// What connections of a kind share.
#[pyclass(frozen, module = "fastws._core")]
pub struct Settings {
    pub(crate) shared: Arc<Shared>,
}

/// The settings themselves.
pub(crate) struct Shared {
    pub config: Arc<Config>,
    pub delivery: Delivery,
    pub form: Form,
    pub water: Water,
    pub write_high: usize,
    pub write_low: usize,
    pub busy_poll: Option<BusyPoll>,
    pub kernel_timestamps: bool,
    pub quickack: bool,
    /// The policy is told of all bytes.
    pub tapped: bool,
}

/// When reading pauses and when it goes on: messages and bytes in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Water {
    pub high_messages: usize,
    pub low_messages: usize,
    pub high_bytes: usize,
    pub low_bytes: usize,
}

/// Compression as Python says it: the terms, then how it is done.
#[derive(FromPyObject)]
struct Deflate(bool, bool, u8, u8, u8, u8, usize, usize, usize);

impl Deflate {
    fn read(self) -> (Terms, Tuning) {
        let terms = Terms {
            server_no_context_takeover: self.0,
            client_no_context_takeover: self.1,
            server_max_window_bits: self.2,
            client_max_window_bits: self.3,
        };
        let tuning =
            Tuning { level: self.4, memory_level: self.5, threshold: self.6, max_ratio: self.7, offload: self.8 };
        (terms, tuning)
    }
}

#[pymethods]
impl Settings {
    /// `options` are the settings by name, complete.
    #[new]
    #[pyo3(signature = (options))]
    fn new(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let get =
            |name: &str| options.get_item(name)?.ok_or_else(|| PyValueError::new_err(format!("no option {name}")));
        let mut config = Config::new(Role::Client, entropy::mask_key);
        let unlimited = |value: Option<usize>| value.unwrap_or(usize::MAX);
        config.limits = Limits {
            max_message: unlimited(get("max_size")?.extract()?),
            max_frame: unlimited(get("max_frame_size")?.extract()?),
            max_fragments: unlimited(get("max_fragments")?.extract()?),
            max_head: options.get_item("max_head")?.map_or(Ok(fastws_core::limits::MAX_HEAD), |head| head.extract())?,
            ..Limits::default()
        };
        config.max_send_bytes = get("max_send_bytes")?.extract()?;
        config.max_send_messages = get("max_send_messages")?.extract()?;
        config.ping_interval = clock::from_seconds(get("ping_interval")?.extract()?);
        config.ping_timeout = clock::from_seconds(get("ping_timeout")?.extract()?);
        config.close_timeout = clock::from_seconds(get("close_timeout")?.extract()?);
        config.auto_pong = get("auto_pong")?.extract()?;
        config.echo_reason = get("echo_reason")?.extract()?;
        let delivery = match get("delivery")?.extract::<&str>()? {
            "frames" => Delivery::Frames,
            "raw" => Delivery::Raw,
            "mixed" => Delivery::Mixed,
            _ => Delivery::Messages,
        };
        config.delivery = delivery;
        config.controls = get("delivery")?.extract::<&str>()? == "messages and controls";
        config.reserved_bits = get("rsv")?.extract()?;
        config.deflate = get("deflate")?.extract::<Option<Deflate>>()?.map(Deflate::read);
        if let Some((terms, _)) = &config.deflate {
            terms.check().map_err(|misuse| PyValueError::new_err(misuse.to_string()))?;
        }
        if config.reserved_bits > 7 {
            return Err(PyValueError::new_err("rsv is a mask of three bits, 0 to 7"));
        }
        if config.reserved_bits != 0 && (delivery != Delivery::Frames || config.deflate.is_some()) {
            return Err(PyValueError::new_err("rsv is for delivery=\"frames\" without compression"));
        }
        let form = match get("messages")?.extract::<&str>()? {
            "bytes" => Form::Bytes,
            "view" => Form::View,
            _ => Form::Auto,
        };
        let (high_messages, low_messages, high_bytes, low_bytes) = get("water")?.extract()?;
        let (write_high, write_low) = get("write_limit")?.extract()?;
        let nanos = |seconds| clock::from_seconds(Some(seconds)).unwrap_or(0);
        let busy_poll = get("busy_poll")?.extract::<Option<(f64, f64)>>()?;
        let shared = Shared {
            config: Arc::new(config),
            delivery,
            form,
            water: Water { high_messages, low_messages, high_bytes, low_bytes },
            write_high,
            write_low,
            busy_poll: busy_poll.map(|(idle, most)| BusyPoll { idle: nanos(idle), most: nanos(most) }),
            kernel_timestamps: get("kernel_timestamps")?.extract()?,
            quickack: get("quickack")?.extract()?,
            tapped: get("tapped")?.extract()?,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What is offered in `Sec-WebSocket-Extensions`; None: nothing.
    #[getter]
    fn offer(&self) -> Option<String> {
        self.shared.config.deflate.map(|(terms, _)| terms.offer())
    }
}
