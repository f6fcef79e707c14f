"""The classification head: its outputs, and the auxiliary classifiers that deploy drops."""

import torch
from torch import nn

from detector.heads.classes import SharedClasses
from detector.heads.classify import Classify


def test_pooling_and_one_linear_layer():
    head = Classify(5, c_in=[8])
    x = torch.randn(2, 8, 3, 4)
    linear = head.layers[-1]
    expected = x.mean((2, 3)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(head([x])["logits"], expected)


def test_probabilities():
    head = Classify(3, c_in=[8])
    logits = torch.tensor([[1.0, 2.0, 4.0]]).log()
    torch.testing.assert_close(head.decode({"logits": logits}), torch.tensor([[1, 2, 4]]) / 7)


def test_hidden_layers_of_vgg():
    head = Classify(10, pool=7, hidden=[16, 16], dropout=0.5, c_in=[4])
    kinds = [type(layer) for layer in head.layers]
    between = [nn.ReLU, nn.Dropout, nn.Linear]
    assert kinds == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, *between, *between]
    # 4 · 7² · 16 + 16, 16 · 16 + 16, 16 · 10 + 10
    assert sum(p.numel() for p in head.parameters()) == 3152 + 272 + 170


def test_auxiliary_classifiers_exist_in_training_only():
    head = Classify(5, c_in=[8, 4, 6]).eval()
    features = [torch.randn(1, c, 6, 6) for c in (8, 4, 6)]
    raw_outputs = head(features)
    assert [tuple(logits.shape) for logits in raw_outputs["auxiliary"]] == [(1, 5), (1, 5)]
    # 4 · 4 · 9 + 2 · 4 + 4 · 5 + 5
    assert sum(p.numel() for p in head.auxiliary[0].parameters()) == 144 + 8 + 25
    fused = head.fuse()
    found = fused(features)
    assert found.keys() == {"logits"}
    assert torch.equal(found["logits"], raw_outputs["logits"])
    assert len(head.auxiliary) == 2


def test_start_weights_are_matched_by_name():
    head, start = (Classify(2, c_in=(4, 3)) for _ in range(2))
    state = start.state_dict()
    adapted = head.adapt(state, True, SharedClasses.find(["cat", "dog"], ["dog", "cat"]))
    last = {"layers.2.weight", "layers.2.bias", "auxiliary.0.3.weight", "auxiliary.0.3.bias"}
    assert adapted.partly.keys() == last
    assert all(torch.equal(adapted.partly[name], state[name].flip(0)) for name in last)
    assert head.adapt(state, True, None).partly == {}
