//! Typed access to the attributes of a node.

use super::node::Fault;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, TensorProto};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The attributes of a node. Each must be asked for by the time the node is done: an attribute that
/// nobody knows may change the meaning of the operator.
pub(super) struct Attributes<'a> {
    entries: &'a [AttributeProto],
    asked_for: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Attributes<'a> {
    /// The attributes in a file.
    pub(super) fn new(entries: &'a [AttributeProto]) -> Self {
        Self { entries, asked_for: RefCell::default() }
    }

    /// An attribute of which the type in the file is `expected`, or not stated.
    fn find(
        &self,
        name: &'static str,
        expected: AttributeType,
    ) -> Result<Option<&'a AttributeProto>, Fault> {
        self.asked_for.borrow_mut().insert(name);
        let Some(entry) = self.entries.iter().find(|entry| entry.name.as_deref() == Some(name))
        else {
            return Ok(None);
        };
        let found = entry.r#type.unwrap_or_default();
        if found != AttributeType::Undefined as i32 && found != expected as i32 {
            let found = AttributeType::try_from(found).map_or("unknown", |t| t.as_str_name());
            return Err(Fault::Invalid(format!(
                "attribute `{name}` is of type {found}, expected {}",
                expected.as_str_name()
            )));
        }
        Ok(Some(entry))
    }

    /// An attribute of a type with one value, which must be there if the attribute is.
    fn value<T>(
        &self,
        name: &'static str,
        expected: AttributeType,
        value: impl Fn(&'a AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(entry) = self.find(name, expected)? else { return Ok(None) };
        value(entry).map(Some).ok_or_else(|| {
            Fault::Invalid(format!("attribute `{name}` has no {} value", expected.as_str_name()))
        })
    }

    pub(super) fn int(&self, name: &'static str) -> Result<Option<i64>, Fault> {
        self.value(name, AttributeType::Int, |entry| entry.i)
    }

    /// An integer that stands for no or yes; no when left out.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Fault> {
        self.flag_or(name, false)
    }

    pub(super) fn flag_or(&self, name: &'static str, default: bool) -> Result<bool, Fault> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    pub(super) fn float(&self, name: &'static str) -> Result<Option<f32>, Fault> {
        self.value(name, AttributeType::Float, |entry| entry.f)
    }

    pub(super) fn string(&self, name: &'static str) -> Result<Option<&'a str>, Fault> {
        let bytes = self.value(name, AttributeType::String, |entry| entry.s.as_deref())?;
        let text = bytes.map(std::str::from_utf8).transpose();
        text.map_err(|_| Fault::Invalid(format!("attribute `{name}` is not UTF-8")))
    }

    pub(super) fn tensor(&self, name: &'static str) -> Result<Option<&'a TensorProto>, Fault> {
        self.value(name, AttributeType::Tensor, |entry| entry.t.as_ref())
    }

    pub(super) fn ints(&self, name: &'static str) -> Result<Option<&'a [i64]>, Fault> {
        Ok(self.find(name, AttributeType::Ints)?.map(|entry| entry.ints.as_slice()))
    }

    pub(super) fn floats(&self, name: &'static str) -> Result<Option<&'a [f32]>, Fault> {
        Ok(self.find(name, AttributeType::Floats)?.map(|entry| entry.floats.as_slice()))
    }

    /// Accepts an attribute that does not matter here.
    pub(super) fn ignore(&self, name: &'static str) {
        self.asked_for.borrow_mut().insert(name);
    }

    /// Checks what holds for the attributes of every operator.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let mut names = BTreeSet::new();
        for entry in self.entries {
            let name = entry.name.as_deref().unwrap_or_default();
            if !names.insert(name) {
                return Err(Fault::Invalid(format!("has attribute `{name}` twice")));
            }
            if entry.ref_attr_name.as_deref().is_some_and(|name| !name.is_empty()) {
                let reason = format!("attribute `{name}` refers to that of a function");
                return Err(Fault::Unsupported(reason));
            }
            if entry.g.is_some() || entry.r#type == Some(AttributeType::Graph as i32) {
                return Err(Fault::Unsupported(format!("attribute `{name}` is a graph")));
            }
        }
        Ok(())
    }

    /// Checks that every attribute has been asked for.
    pub(super) fn all_known(&self) -> Result<(), Fault> {
        let asked_for = self.asked_for.borrow();
        let names = self.entries.iter().filter_map(|entry| entry.name.as_deref());
        match names.into_iter().find(|&name| !asked_for.contains(name)) {
            Some(name) => Err(Fault::Unsupported(format!("attribute `{name}` is not known"))),
            None => Ok(()),
        }
    }
}
