"""The detector's rows lie where boxes.json says, and what it should learn decodes to what was drawn."""

import importlib.util
import json
import unittest

MISSING = [name for name in ("torch", "numpy") if importlib.util.find_spec(name) is None]
if not MISSING:
    import numpy as np
    import torch

    import find_shapes
    from shapes import LABELS, normalised


def perfect_rows(kind, moves):
    """What a network that has learned everything gives for one picture."""
    rows = np.zeros((len(kind), 1 + len(LABELS) + 4), np.float32)
    rows[np.arange(len(kind)), kind] = 20
    rows[:, -4:] = torch.where(kind[:, None] > 0, moves, 0.0)
    return rows


@unittest.skipIf(MISSING, f"needs {', '.join(MISSING)}")
class FindShapes(unittest.TestCase):
    def test_targets_decode_to_what_was_drawn(self):
        pictures, boxes, classes = find_shapes.draw(np.random.default_rng(0), 40)
        self.assertEqual(pictures.shape, (40, find_shapes.SIZE, find_shapes.SIZE, 3))
        kinds, moves = find_shapes.targets(torch.from_numpy(find_shapes.anchors()), boxes, classes)
        found = [find_shapes.decode(perfect_rows(*one)) for one in zip(kinds, moves, strict=True)]
        truth = list(zip(boxes, classes, strict=True))
        for (scores, right, shapes), label in zip(find_shapes.judge(found, truth), LABELS, strict=True):
            self.assertGreater(shapes, 10, label)
            # Overlapping shapes of one class may hide each other, but seldom.
            self.assertGreater(find_shapes.average_precision(scores, right, shapes), 0.98, label)

    def test_boxes_fit_the_shapes(self):
        random = np.random.default_rng(1)
        for _ in range(50):
            _, boxes, classes = find_shapes.draw_one(random)
            self.assertEqual(boxes.shape, (len(classes), 4))
            self.assertTrue((boxes >= 0).all() and (boxes <= find_shapes.SIZE).all())
            sizes = boxes[:, 2:] - boxes[:, :2]
            self.assertTrue((sizes >= 8).all() and (sizes <= 90).all(), sizes)

    def test_rows_are_in_the_order_of_the_anchors(self):
        net = find_shapes.FindShapesNet().eval()
        with torch.no_grad():
            rows = net(torch.zeros(2, 3, find_shapes.SIZE, find_shapes.SIZE))
        self.assertEqual(list(rows.shape), [2, len(find_shapes.anchors()), 1 + len(LABELS) + 4])
        # A head that says where it looks: channel 0 holds the row, channel 1 the column.
        head = find_shapes.Head(2, 3)
        torch.nn.init.zeros_(head.conv.weight)
        torch.nn.init.zeros_(head.conv.bias)
        for shape in range(3):
            head.conv.bias.data[shape * head.values] = shape
            head.conv.weight.data[shape * head.values + 1, 0] = 1
            head.conv.weight.data[shape * head.values + 2, 1] = 1
        place = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij"))
        found = head(place[None])[0, :, :3].detach().numpy()
        expected = [[shape, row, column] for row in range(4) for column in range(5) for shape in range(3)]
        np.testing.assert_array_equal(found[:, 1:], np.array(expected)[:, 1:])
        np.testing.assert_allclose(found[:, 0], np.array(expected)[:, 0])
        anchors = find_shapes.anchors()
        np.testing.assert_array_equal(anchors[1], [4, 4, 26, 26])
        np.testing.assert_array_equal(anchors[4], [12, 4, 17, 17])
        np.testing.assert_array_equal(anchors[16 * 4 + 3], [4, 12, 20, 30])
        np.testing.assert_array_equal(anchors[16 * 16 * 4], [8, 8, 38, 38])

    def test_what_the_converter_reads_is_what_was_trained(self):
        written = json.loads(find_shapes.settings())
        self.assertEqual(written["maps"], find_shapes.MAPS)
        self.assertEqual((written["variances"], written["candidates"]), (find_shapes.VARIANCES, find_shapes.CANDIDATES))
        count = sum(map_["size"][0] * map_["size"][1] * len(map_["shapes"]) for map_ in written["maps"])
        self.assertEqual(count, len(find_shapes.anchors()))

    def test_precision_is_that_of_the_definition(self):
        # Right, wrong, right of four: precisions 1 and 2/3 at recalls of a quarter and a half.
        scores, right = np.array([0.5, 0.9, 0.7]), np.array([True, True, False])
        self.assertAlmostEqual(find_shapes.average_precision(scores, right, 4), (1 + 2 / 3) / 4)
        box = np.array([[10, 10, 30, 30]], np.float32)
        found = [(np.concatenate([box, box + 1, box + 40]), np.array([2, 2, 2]), np.array([0.9, 0.8, 0.7]))]
        _, right, shapes = find_shapes.judge(found, [(box, np.array([2]))])[2]
        self.assertEqual((right.tolist(), shapes), ([True, False, False], 1))

    def test_an_overlapping_box_of_its_class_goes(self):
        rows = np.zeros((len(find_shapes.anchors()), 9), np.float32)
        rows[:, 0] = 20
        # The same place twice with two classes, and its neighbour, which overlaps by about a third.
        rows[0, :3] = [0, 9, 8.5]
        rows[1, :3] = [0, 9, 0]
        rows[4, :3] = [0, 8, 0]
        boxes, classes, scores = find_shapes.decode(rows)
        self.assertEqual(len(boxes), len(classes))
        self.assertTrue((np.diff(scores) <= 0).all())
        np.testing.assert_array_equal(boxes[classes == 0][0], [-9, -9, 17, 17])

    def test_it_begins_to_learn(self):
        torch.manual_seed(0)
        random = np.random.default_rng(2)
        pictures, boxes, classes = find_shapes.draw(random, 4)
        wanted = find_shapes.targets(torch.from_numpy(find_shapes.anchors()), boxes, classes)
        net = find_shapes.FindShapesNet()
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
        losses = []
        for _ in range(8):
            loss = find_shapes.detection_loss(net(normalised(pictures)), *wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        self.assertLess(losses[-1], 0.6 * losses[0])


if __name__ == "__main__":
    unittest.main()
