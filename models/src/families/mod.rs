//! The families of binary networks, one file each: what their papers' tables say, with the parameters open.

mod bi_real;
mod binary_dense_net;
mod binary_duo;
mod binary_net;
mod dorefa_net;
mod framework;
mod hyper_binary_net;
mod igp_resnet;
mod parts;
mod pre_activation;
mod react_net;
mod real_to_binary;
mod resnet_e;
mod small_resnet_e;
mod ssd;

pub use bi_real::BiReal;
pub use binary_dense_net::{
    BinaryDenseNet, Transitions, UNITS_28, UNITS_37, UNITS_45, low_reduction, reduced,
};
pub use binary_duo::{Activations, DuoAlexNet, DuoResNet18, DuoVgg7};
pub use binary_net::{BinaryAlexNet, BinaryResNet18, ConvNet, ConvNetActivations};
pub use dorefa_net::DoReFaAlexNet;
pub use framework::Framework;
pub use hyper_binary_net::{
    HyperConvolution, HyperResNet, HyperResNet50, HyperShuffleNet, Shortcut,
};
pub use igp_resnet::{IgpResNet, MORE_BLOCKS, ONE_BLOCK, Residual};
pub use parts::{Stem, Task};
pub use pre_activation::{Method, PreActivation, ShapeShortcut, XnorAlexNet};
pub use react_net::ReActNetA;
pub use real_to_binary::RealToBinary;
pub use resnet_e::{ResNetE, Version};
pub use small_resnet_e::SmallResNetE;
pub use ssd::{Ssd512, VOC_CLASSES};
