"""Series on which each alert of helm/files/alerts.yaml fires, and such on which it does not, for `promtool test rules`.

One sample a minute. `at`: when to look, in minutes. A row is: the alert, its series, at, the labels beside severity and the summary as a human reads
it, or nothing where it must be silent.
"""

HERE = {"job": "shop/loyaltyd", "instance": "a:9464"}
OF = 'job="shop/loyaltyd",instance="a:9464"'
RPC = f'loyaltyd_rpc_requests_total{{{OF},service="loyalty.v1.PurchaseService",method="RecordPurchase",code='
HEALTH = f'loyaltyd_rpc_requests_total{{{OF},service="grpc.health.v1.Health",method="Check",code="UNAVAILABLE"}}'
VIETNAM = f'{{{OF},program="vietnam"}}'


def histogram(name, fast, slow, labels=""):
    """So many a minute within 0.05 s, and so many between 0.1 s and 0.5 s."""
    bounds = [("0.05", fast), ("0.1", fast), ("0.5", fast + slow), ("+Inf", fast + slow)]
    return {f'{name}_bucket{{{OF}{labels},le="{bound}"}}': f"0+{count}x60" for bound, count in bounds}


def of(name, values, labels=""):
    return {f"{name}{{{OF}{labels}}}": values}


RECORD = ',service="loyalty.v1.PurchaseService",method="RecordPurchase"'
SINGLE = ',queue="single"'

ROWS = [
    ("LoyaltydDown", of("up", "0x60"), 3, HERE, "loyaltyd does not answer at a:9464"),
    ("LoyaltydDown", of("up", "1x60"), 3, None, None),
    # Prometheus has lost the target, or never had it: another one's answer says nothing.
    ("LoyaltydDown", {'up{job="node",instance="b:9100"}': "1x60"}, 3, {}, "loyaltyd does not answer"),
    ("LoyaltydNotServing", of("loyaltyd_state", "0x60", ',state="serving"'), 11, HERE, "loyaltyd at a:9464 runs and does not serve"),
    ("LoyaltydNotServing", of("loyaltyd_state", "0x60", ',state="serving"'), 9, None, None),
    ("LoyaltydNotServing", of("loyaltyd_state", "1x60", ',state="serving"'), 11, None, None),
    # Probes of a service that is starting fail, and are nobody's calls.
    (
        "LoyaltydErrors",
        {f'{RPC}"OK"}}': "0+98x60", f'{RPC}"INTERNAL"}}': "0+2x60", HEALTH: "0+900x60"},
        12,
        HERE,
        "loyaltyd at a:9464 fails 2% of its calls",
    ),
    ("LoyaltydErrors", {f'{RPC}"OK"}}': "0+98x60", f'{RPC}"NOT_FOUND"}}': "0+50x60", HEALTH: "0+900x60"}, 12, None, None),
    (
        "LoyaltydSlow",
        histogram("loyaltyd_rpc_duration_seconds", 50, 50, RECORD),
        17,
        HERE,
        "One in a hundred purchases takes longer than 492ms at a:9464",
    ),
    ("LoyaltydSlow", histogram("loyaltyd_rpc_duration_seconds", 999, 1, RECORD), 17, None, None),
    (
        "LoyaltydQueueFull",
        {**of("loyaltyd_queue_commands", "2000x60", SINGLE), **of("loyaltyd_queue_bound_commands", "2048x60", SINGLE)},
        3,
        HERE,
        "The queue of loyaltyd at a:9464 is 97.66% full",
    ),
    (
        "LoyaltydQueueFull",
        {**of("loyaltyd_queue_commands", "1500x60", SINGLE), **of("loyaltyd_queue_bound_commands", "2048x60", SINGLE)},
        3,
        None,
        None,
    ),
    ("LoyaltydMemoryHigh", of("process_resident_memory_bytes", "7e9x60"), 16, HERE, "loyaltyd at a:9464 has 6.519GiB of memory"),
    # Another program's.
    ("LoyaltydMemoryHigh", {'process_resident_memory_bytes{job="node",instance="b:9100"}': "7e9x60"}, 16, None, None),
    (
        "LoyaltydFsyncSlow",
        histogram("loyaltyd_journal_fsync_duration_seconds", 50, 50),
        17,
        HERE,
        "One in a hundred commits waits for the disk for longer than 492ms at a:9464",
    ),
    ("LoyaltydFsyncSlow", histogram("loyaltyd_journal_fsync_duration_seconds", 999, 1), 17, None, None),
    (
        "LoyaltydTablesBehind",
        {**of("loyaltyd_tables_lag_bytes", "90x60"), **of("loyaltyd_tables_lag_bound_bytes", "100x60")},
        11,
        HERE,
        "The look-up tables of loyaltyd at a:9464 are behind, 90% of what may wait does",
    ),
    ("LoyaltydTablesBehind", {**of("loyaltyd_tables_lag_bytes", "70x60"), **of("loyaltyd_tables_lag_bound_bytes", "100x60")}, 11, None, None),
    (
        "LoyaltydDiskNearlyFull",
        {**of("loyaltyd_data_disk_free_bytes", "5x60"), **of("loyaltyd_data_disk_size_bytes", "100x60")},
        6,
        HERE,
        "5% of the data disk of loyaltyd at a:9464 is free",
    ),
    (
        "LoyaltydDiskNearlyFull",
        {**of("loyaltyd_data_disk_free_bytes", "15x60"), **of("loyaltyd_data_disk_size_bytes", "100x60")},
        6,
        None,
        None,
    ),
    ("LoyaltydDiskFull", of("loyaltyd_commits_without_space_total", "0 0 0 1 1 1"), 4, HERE, "The data disk of loyaltyd at a:9464 is full: changes are refused"),
    # That there was space again, an hour ago, is nobody's matter.
    ("LoyaltydDiskFull", of("loyaltyd_commits_without_space_total", "0 0 0 1x60"), 40, None, None),
    (
        "LoyaltydDueBacklog",
        of("loyaltyd_due_oldest_seconds", "3660+60x120"),
        66,
        HERE,
        "What is due at a:9464 has waited for 2h 7m 0s, and does not become less",
    ),
    ("LoyaltydDueBacklog", of("loyaltyd_due_oldest_seconds", "36000-60x120"), 66, None, None),
    (
        "LoyaltydPointsByHand",
        {f"loyaltyd_points_added_by_hand_total{VIETNAM}": "0+500x60", f"loyaltyd_points_issued_total{VIETNAM}": "0+1000x60"},
        60,
        {**HERE, "program": "vietnam"},
        "30k points of programme vietnam were added by hand within an hour",
    ),
    # Many are issued; or it is little, whatever its share.
    (
        "LoyaltydPointsByHand",
        {f"loyaltyd_points_added_by_hand_total{VIETNAM}": "0+500x60", f"loyaltyd_points_issued_total{VIETNAM}": "0+9000x60"},
        60,
        None,
        None,
    ),
    (
        "LoyaltydPointsByHand",
        {f"loyaltyd_points_added_by_hand_total{VIETNAM}": "0+100x60", f"loyaltyd_points_issued_total{VIETNAM}": "0+100x60"},
        60,
        None,
        None,
    ),
]


def tests(alerts, file):
    """The rows as promtool takes them."""
    rules = {rule["alert"]: rule for group in alerts["groups"] for rule in group["rules"]}
    silent, loud = ({row[0] for row in ROWS if (row[3] is None) == is_silent} for is_silent in (True, False))
    if missing := sorted(rules.keys() - (silent & loud)):
        raise SystemExit(f"there are no series on which these fire, and such on which they do not: {missing}")
    return {
        "rule_files": [str(file)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": f"{alert} {'is silent' if labels is None else 'fires'}",
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"alertname": alert, "eval_time": f"{at}m", "exp_alerts": [] if labels is None else [expected(rules[alert], labels, summary)]}
                ],
            }
            for alert, series, at, labels, summary in ROWS
        ],
    }


def expected(rule, labels, summary):
    annotations = {**rule["annotations"], "summary": summary}
    return {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": annotations}
