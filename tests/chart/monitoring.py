#!/usr/bin/env python3
"""The alert rules and the dashboard of helm/files against a real server and a real Prometheus.

    python tests/chart/monitoring.py --binary target/release/loyaltyd

Every expression is parsed; each metric that it selects is one that the server really gives, with the labels by which it is selected and grouped and the
values that are written there. By promtool each alert fires on series that should make it fire and is silent on others (alerts.py). Last, a
Prometheus reads the server: it takes all rules, each panel of the dashboard shows something, and when the server is killed it says so.

Needs promql-parser, prometheus-client, grpcio, grpcio-reflection and PyYAML; for the last two parts prometheus and promtool, which are Debian's if
there are none on the PATH. What Grafana draws is not shown here.
"""

import argparse
import contextlib
import json
import pathlib
import re
import sys
import tempfile
import time
import urllib.request

import alerts
import prometheus
import promql_parser
import yaml
from prometheus_client.openmetrics import parser as openmetrics

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests" / "tour"), str(ROOT / "tests" / "oracle")]

import grpc  # noqa: E402
from harness import PROGRAMS, Loyaltyd, free_port  # noqa: E402
from reflected import Server  # noqa: E402

ALERTS, DASHBOARD = (ROOT / "helm" / "files" / name for name in ("alerts.yaml", "dashboard.json"))
# What Prometheus adds to each sample, and has itself.
TARGET = {"job": "loyaltyd", "instance": "127.0.0.1:9464"}
ITS_OWN = {"up"}
# Codes come to be with the first call that ends so.
OPEN_LABELS = {"job", "instance", "code"}
PATIENCE = 90


def fail(why):
    raise SystemExit(f"monitoring: {why}")


def of_dashboard(value, path=""):
    """Each expression of Grafana's targets and annotations, by its place."""
    if isinstance(value, dict):
        name = value.get("title") or value.get("name") or ""
        if isinstance(value.get("expr"), str):
            yield f"{path} {name}".strip(), value["expr"]
        for inner in value.values():
            yield from of_dashboard(inner, f"{path} {name}".strip())
    elif isinstance(value, list):
        for inner in value:
            yield from of_dashboard(inner, path)


def filled(expression):
    """As Grafana asks it when all is chosen."""
    for variable, value in {"$job": ".*", "$instance": ".*", "$program": ".*", "$__rate_interval": "10s"}.items():
        expression = expression.replace(variable, value)
    if "$" in expression:
        fail(f"there is a variable that the dashboard does not have in {expression}")
    return expression


def variables(dashboard):
    """Selector and label of each variable that is looked up."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            if variable["query"]["query"] != variable["definition"]:
                fail(f"variable {variable['name']} asks for something else than it shows")
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            if not found:
                fail(f"variable {variable['name']} is no label_values(): {variable['definition']}")
            yield f"variable {variable['name']}", filled(found[1]), found[2]


def series(text):
    """What the server gives, by name: each sample's labels. The parser takes nothing that OpenMetrics does not allow."""
    found = {name: [dict(TARGET)] for name in ITS_OWN}
    for family in openmetrics.text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append({**sample.labels, **TARGET})
    return found


def selectors_below(expression):
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(expression, visit)
    return found


def faults(place, text, there):
    """What is wrong with an expression, by what the server gives."""
    try:
        expression = promql_parser.parse(text)
    except ValueError as error:
        return [f"{place}: {error}: {text}"]
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.extend(f"{place}: {fault}" for fault in faults_of(node, there))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            names = [selector.name for selector in selectors_below(node.expr)]
            for label in node.modifier.labels:
                if missing := [name for name in names if not any(label in labels for labels in there.get(name, []))]:
                    found.append(f"{place}: groups by {label}, which {missing} does not have")

    promql_parser.walk(expression, visit)
    return found


def faults_of(selector, there):
    if selector.name not in there:
        yield f"there is no metric {selector.name}"
        return
    for matcher in selector.matchers.matchers:
        values = {labels[matcher.name] for labels in there[selector.name] if matcher.name in labels}
        if not values:
            yield f"{selector.name} has no label {matcher.name}"
        elif matcher.name not in OPEN_LABELS and not any(matches(matcher, value) for value in values):
            yield f"{selector.name} has no {matcher.name} {matcher.value!r}, but {sorted(values)[:8]}"


def matches(matcher, value):
    """Whether the value is one that it names: what it excludes must be there to be excluded."""
    if matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):
        return value == matcher.value
    return re.fullmatch(matcher.value, value) is not None


def planted(there):
    """Faults that must be found, or all of this shows nothing."""
    rate = "sum by (method) (rate(loyaltyd_rpc_requests_total[5m]))"
    for spoilt, says in [
        (rate.replace("requests", "request"), "no metric"),
        (rate.replace("by (method)", "by (methods)"), "groups by methods"),
        (rate.replace("[5m]", '{servce="a"}[5m]'), "no label servce"),
        (rate.replace("[5m]", '{service!="grpc.Health"}[5m]'), "has no service"),
        (rate.replace("[5m]", ""), "expected type matrix"),
        (rate[:-1], "unclosed"),
        ('loyaltyd_state{state="serves"}', "has no state"),
        ("rat(loyaltyd_state)", "unknown function"),
    ]:
        if says not in "\n".join(faults("planted", spoilt, there)):
            fail(f"the checks do not find what is wrong with {spoilt}: {faults('planted', spoilt, there)}")
    return 8


def work(server):
    """A little of all that there is a panel for."""
    key = f"w-{time.monotonic_ns()}"
    member = {"identifier": {"kind": "KIND_CARD", "value": key}}
    mine = {"program_id": "vietnam", "member": member}
    who = {"reason": "to be seen", "actor": {"actor_id": "support-7"}}
    server.call("loyalty.v1.MemberService", "EnrollMember", request_id=f"e-{key}", program_id="vietnam", identifiers=[member["identifier"]])
    amount = {"currency_code": "VND", "amount": "5000000"}
    sale = {"store_id": "s", "order_id": key, "lines": [{"amount": amount}], "total": amount}
    server.call("loyalty.v1.PurchaseService", "RecordPurchase", request_id=f"s-{key}", **mine, purchase=sale)
    redeemed = server.call("loyalty.v1.PointsService", "RedeemPoints", request_id=f"r-{key}", **mine, points="100", order_total=amount)
    if redeemed.balance.available != 400:
        fail(f"500 points less 100 are {redeemed.balance.available}")
    server.call("loyalty.v1.PointsService", "AdjustPoints", request_id=f"a-{key}", **mine, points="5", **who)
    with contextlib.suppress(grpc.RpcError):
        server.call("loyalty.v1.MemberService", "GetMember", program_id="vietnam", member={"member_id": "nobody"})


def judged(tools, rules):
    """What promtool says of the rules, and which alerts fire on what."""
    code, said = prometheus.promtool(tools, "check", "rules", str(ALERTS))
    if code != 0:
        fail(f"promtool does not take the rules:\n{said}")
    with tempfile.TemporaryDirectory(prefix="loyaltyd-rules-") as folder:
        file = pathlib.Path(folder) / "tests.yaml"
        file.write_text(yaml.safe_dump(alerts.tests(rules, ALERTS), sort_keys=False))
        code, said = prometheus.promtool(tools, "test", "rules", str(file))
        if code != 0:
            fail(f"alerts do not fire as they should:\n{said}")
        # Each row the other way round must be seen.
        text = file.read_text()
        file.write_text(text.replace("0x60", "1x60", 1))
        if prometheus.promtool(tools, "test", "rules", str(file))[0] == 0:
            fail("promtool does not see an alert that does not fire")
    print(f"{len(alerts.ROWS)} sets of series: each of the alerts fires on one, with its text, and is silent on another")


def watched(tools, server, metrics, expressions):
    """A Prometheus reads the server while it works: each panel shows numbers; then the server dies."""
    caller = Server(server.address)
    with prometheus.running(tools, metrics, ALERTS) as seen:
        waiting = dict(expressions)
        is_restarted = False
        deadline = time.monotonic() + PATIENCE
        while waiting:
            if time.monotonic() > deadline:
                fail("these show nothing:\n" + "\n".join(f"{place}: {text}" for place, text in waiting.items()))
            for _ in range(5):
                work(caller)
            waiting = {place: text for place, text in waiting.items() if not seen.values(text)}
            if not is_restarted and len(waiting) < 3:
                # Starts are marked on the dashboard.
                server.stop()
                server.start()
                is_restarted, caller = True, Server(server.address)
        unhealthy = [(rule["name"], rule.get("lastError")) for rule in seen.rules() if rule["health"] != "ok"]
        if unhealthy:
            fail(f"Prometheus cannot judge by {unhealthy}")
        for name in ("LoyaltydDown", "LoyaltydNotServing"):
            seen.until(name, "inactive")
        server.kill()
        seen.until("LoyaltydDown", "pending")
        count = len(seen.rules())
    print(f"Prometheus takes {count} rules, shows {len(expressions)} expressions of the dashboard with numbers, and sees a server that is killed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    binary = parser.parse_args().binary.resolve()
    rules, dashboard = yaml.safe_load(ALERTS.read_text()), json.loads(DASHBOARD.read_text())
    panels = {f"{number}: {place}": filled(text) for number, (place, text) in enumerate(of_dashboard(dashboard))}
    judgements = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    looked_up = list(variables(dashboard))
    if len(panels) < 45 or len(judgements) < 12 or len(looked_up) < 3:
        fail(f"only {len(panels)} expressions of panels, {len(judgements)} of alerts and {len(looked_up)} variables were found")
    tools = prometheus.binaries()
    with tempfile.TemporaryDirectory(prefix="loyaltyd-monitoring-") as folder:
        metrics = f"127.0.0.1:{free_port()}"
        # Nobody takes the traces, which is something to see.
        flags = ["--metrics-listen", metrics, "--otlp-endpoint", f"http://127.0.0.1:{free_port()}"]
        with Loyaltyd(binary, folder, [PROGRAMS / "vietnam.yaml"], *flags) as server:
            work(Server(server.address))
            with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=30) as answer:
                there = series(answer.read().decode())
            found = [fault for place, text in {**panels, **judgements}.items() for fault in faults(place, text, there)]
            for place, selector, label in looked_up:
                found += faults(place, f"count by ({label}) ({selector})", there)
            if found:
                fail("\n  ".join(["what the server does not give is asked for:", *found]))
            print(
                f"{len(panels)} expressions of the dashboard, {len(judgements)} of alerts, {len(looked_up)} variables: each parses and selects what there is;"
                f" {planted(there)} planted faults are found"
            )
            if tools is None:
                print("!!! ALERTS AND DASHBOARD ARE NOT TRIED WITH PROMETHEUS HERE: put prometheus and promtool on the PATH")
                return
            judged(tools, rules)
            watched(tools, server, metrics, panels)


if __name__ == "__main__":
    main()
