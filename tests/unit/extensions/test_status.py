import pytest

from fastws import AdvancedStatusViewer, ConfigError, ConnectionContext, ExtensionHost, SessionStatus, StatusViewer
from fastws.events import DisconnectReason
from virtual_time import run_virtual

UP, DOWN = SessionStatus.CONNECTED, SessionStatus.DISCONNECTED


def connect(viewer):
    viewer.on_connect(ConnectionContext(1))


def disconnect(viewer):
    viewer.on_disconnect(ConnectionContext(1), DisconnectReason("normal"))


def test_fault_24_viewers_are_readable_after_registration():
    async def main():
        viewers = StatusViewer(), AdvancedStatusViewer()
        host = ExtensionHost(viewers)
        await host.start()
        assert [viewer.is_connected for viewer in viewers] == [False, False]
        await host.notify_connect(ConnectionContext(1))
        assert [viewer.is_connected for viewer in viewers] == [True, True]
        assert viewers[0].current_status is UP
        assert host.get("status_viewer") is viewers[0]
        await host.notify_disconnect(ConnectionContext(1))
        assert [viewer.current_status for viewer in viewers] == [DOWN, DOWN]
        await host.notify_shutdown()
        assert viewers[1].connection_count == 1
        assert not host.handles_messages

    run_virtual(main())


def test_a_viewer_that_comes_during_a_session_knows_it():
    async def main():
        host, viewer = ExtensionHost(), StatusViewer()
        await host.start()
        await host.notify_connect(ConnectionContext(1))
        await host.register(viewer)
        assert viewer.is_connected

    run_virtual(main())


@pytest.fixture
def clock():
    now = [100.0]

    def clock(advance=0.0):
        now[0] += advance
        return now[0]

    return clock


def test_fault_24_uptime_is_that_of_the_session_and_none_while_down(clock):
    viewer = AdvancedStatusViewer(clock=clock)
    assert (viewer.uptime, viewer.total_uptime) == (None, 0)
    connect(viewer)
    clock(5)
    assert (viewer.uptime, viewer.total_uptime) == (5, 5)
    disconnect(viewer)
    clock(100)
    assert (viewer.uptime, viewer.total_uptime) == (None, 5)
    connect(viewer)
    clock(2)
    assert (viewer.uptime, viewer.total_uptime) == (2, 7)
    viewer.on_shutdown(ConnectionContext(1))
    assert (viewer.uptime, viewer.total_uptime, viewer.is_connected) == (None, 7, False)
    viewer.on_shutdown(ConnectionContext(1))
    assert viewer.history == [(100, UP), (105, DOWN), (205, UP), (207, DOWN)]


def test_fault_24_the_count_of_connections_is_not_limited_by_the_history(clock):
    viewer = AdvancedStatusViewer(history_limit=3, clock=clock)
    for _ in range(10):
        connect(viewer)
        disconnect(viewer)
    assert viewer.connection_count == 10
    assert [change.status for change in viewer.history] == [DOWN, UP, DOWN]
    default = AdvancedStatusViewer()
    for _ in range(200):
        connect(default)
        disconnect(default)
    assert len(default.history) == 100


def test_the_limit_is_checked():
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="history_limit"):
            AdvancedStatusViewer(wrong)


def test_a_status_reads_as_a_word():
    assert str(UP) == "connected"
    assert str(DOWN) == "disconnected"
