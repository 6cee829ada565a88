import torch

from sccalmflow._device import best_device, device_name, forked_random_state


def test_a_gpu_is_taken_where_there_is_one_and_called_by_its_name():
    found = torch.cuda.is_available()
    assert best_device().type == ("cuda" if found else "cpu")
    assert device_name() == (torch.cuda.get_device_name() if found else "processor")


def test_a_forked_random_state_is_seeded_and_put_back():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = torch.rand(1)
    drawn = []
    for seed in (3, 3, 4):
        with forked_random_state(seed):
            drawn.append(torch.rand(1))
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    assert drawn[0] == drawn[1] != drawn[2]
