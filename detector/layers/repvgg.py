"""RepVGG's block (arXiv 2101.03697, section 3): three branches in training, fused to one conv."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.layers.activation import Activation, make_activation
from detector.layers.conv import (
    Conv2d,
    FusedConv,
    PaddingMode,
    SameConv2d,
    check_groups,
    make_conv,
    same_padding,
)
from detector.layers.fuse import (
    Kernel,
    add_kernels,
    fold_batch_norm,
    norm_kernel,
    plain_conv,
)
from detector.layers.se import SEBlock
from detector.registry import Count, Odd, Positive, Size, Width, register


@register()
class RepVGGBlock(nn.Module):
    """Sum of k×k conv-BN, 1×1 conv-BN and identity BN → SE, if any → activation.

    The identity branch exists if the stride is 1 and c_in = c_out. The branches are linear, so that
    ``fuse`` can replace them by one convolution.

    Args:
        padding: ``None``, or the one value that keeps the size at stride 1.
        padding_mode: one of torch's modes, or ``same`` for TensorFlow's padding
            (:class:`detector.layers.conv.SameConv2d`).
        deploy: build the fused form directly.
        use_se: add squeeze-and-excitation before the activation.
        se_ratio: factor by which squeeze-and-excitation reduces the channels.
        se_last: put squeeze-and-excitation after the activation (RepVGGplus).
        pointwise: include the 1×1 branch; False for the paper's ablation (table 6).
        identity: include the identity branch where it is possible; False for the same ablation.
        eps: value added to the variance by the batch norms.
        momentum: momentum of the batch norms' running statistics.
    """

    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Odd = 3,
        stride: Count = 1,
        padding: Size | None = None,
        dilation: Count = 1,
        groups: Count = 1,
        padding_mode: PaddingMode = "zeros",
        deploy: bool = False,
        use_se: bool = False,
        activation: Activation = "SiLU",
        se_ratio: Count = 16,
        se_last: bool = False,
        pointwise: bool = True,
        identity: bool = True,
        eps: Positive = 1e-5,
        momentum: Positive = 0.1,
    ) -> None:
        super().__init__()
        same = same_padding(kernel, dilation)
        if padding not in (None, same):
            raise ValueError(
                f"argument 'padding': the branches fit only with {same} here, found {padding}"
            )
        check_groups(groups, c_in, c_out)
        if padding_mode == "same" and dilation > 1:
            raise ValueError("argument 'padding_mode': 'same' fuses without dilation only")
        self.conv = make_conv(
            c_in, c_out, kernel, stride, same, dilation, groups, deploy, padding_mode
        )
        self.se = SEBlock(c_out, se_ratio) if use_se else nn.Identity()
        self.act = make_activation(activation)
        self.se_last = se_last
        self.deployed = deploy
        if deploy:
            return
        self.bn = nn.BatchNorm2d(c_out, eps, momentum)
        self.pointwise = self.pointwise_bn = self.identity_bn = None
        if pointwise:
            self.pointwise = Conv2d(c_in, c_out, 1, stride, groups=groups, bias=False)
            self.pointwise_bn = nn.BatchNorm2d(c_out, eps, momentum)
        if identity and stride == 1 and c_in == c_out:
            self.identity_bn = nn.BatchNorm2d(c_out, eps, momentum)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        if not self.deployed:
            self._check_side(x)
            out = self.bn(out)
            if self.pointwise is not None and self.pointwise_bn is not None:
                out += self.pointwise_bn(self.pointwise(x))
            if self.identity_bn is not None:
                out += self.identity_bn(x)
        return self.se(self.act(out)) if self.se_last else self.act(self.se(out))  # type: ignore[no-any-return]

    def _check_side(self, x: Tensor) -> None:
        """Raise ValueError if TensorFlow's padding would differ from that of the fused kernel.

        It depends on the side: where the stride does not divide it, the k×k and the 1×1 branch are
        aligned differently, and no single kernel fits both cases.
        """
        stride = self.conv.stride[0]
        same = isinstance(self.conv, SameConv2d)
        if same and stride > 1 and (x.shape[-2] % stride or x.shape[-1] % stride):
            raise ValueError(
                f"padding_mode 'same': the stride {stride} must divide the feature map's sides, "
                f"found {x.shape[-2]}×{x.shape[-1]}"
            )

    def fuse(self) -> FusedConv:
        """Return a block with one convolution that is equivalent in eval mode."""
        conv = self.conv if self.deployed else plain_conv(self.conv, self.kernel())
        return FusedConv(conv, self.act, self.se, self.se_last)

    def kernel(self) -> Kernel:
        """Return the sum of the branches' kernels and of their biases, float64."""
        kernels = [fold_batch_norm(self.conv, self.bn)]
        if self.pointwise is not None and self.pointwise_bn is not None:
            kernels.append(fold_batch_norm(self.pointwise, self.pointwise_bn))
        if self.identity_bn is not None:
            kernels.append(norm_kernel(self.identity_bn, self.conv.groups))
        return add_kernels(
            kernels, self.conv.offset(0) if isinstance(self.conv, SameConv2d) else None
        )


def randomise_batch_norms(model: nn.Module, seed: int = 0) -> None:
    """Set random statistics and weights in every batch norm; the defaults hide fusing errors."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                if tensor is not None:
                    drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                    with torch.no_grad():
                        tensor.copy_(low + (high - low) * drawn)
