"""What must hold of every rendering beyond Kubernetes' schemas: what pods may do, that names meet, that nothing secret is in the open."""

import json
import re

from chart import containers, of_kind, only, pod_of, pods, selects
from matrix import is_planted

COMPONENT = "app.kubernetes.io/component"
# Objects whose names are DNS labels that begin with a letter.
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Kubernetes adds to these names: a hash to a StatefulSet's in a label, a time to a CronJob's.
LONGEST = {"StatefulSet": 52, "CronJob": 52}
# Folders of a container that it writes to: only the store and, of a backup that is taken, its volumes.
WRITTEN = {"loyaltyd": {"data"}, "backup": {"backup", "keys"}, "restore": {"data"}}


def require(holds, what):
    if not holds:
        raise AssertionError(what)


def check(things, values, release, namespace):
    names_and_labels(things, release, namespace)
    for thing, pod in pods(things):
        security(pod)
        files(thing, pod)
        nothing_secret(pod, values)
    secrets_stay(things)
    stateful_set(things, values)
    probes(things, values)
    ports(things)
    selectors(things)
    network(things, values)
    backup(things, values)
    restore(things, values)
    monitoring(things, values, namespace)
    certificate(things, values)


def names_and_labels(things, release, namespace):
    seen = set()
    for thing in things:
        kind, meta = thing["kind"], thing["metadata"]
        name = meta["name"]
        require((kind, name) not in seen, f"two of kind {kind} are called {name}")
        seen.add((kind, name))
        shape = SERVICE_NAME if kind == "Service" else OBJECT_NAME
        require(shape.fullmatch(name), f"{kind} {name} is no name")
        require(len(name) <= LONGEST.get(kind, 63), f"{kind} {name} has {len(name)} characters")
        require(meta["namespace"] == namespace, f"{kind} {name} is in {meta['namespace']}")
        own = {"app.kubernetes.io/instance": release, "app.kubernetes.io/managed-by": "Helm"}
        require(own.items() <= meta["labels"].items(), f"{kind} {name} has not the release's labels")
        labels = [meta["labels"]] + ([pod["metadata"]["labels"]] if (pod := pod_of(thing)) else [])
        for key, value in ((key, value) for some in labels for key, value in some.items()):
            require(isinstance(value, str) and len(value) <= 63, f"{kind} {name}: label {key} is {value!r}")


def security(pod):
    spec = pod["spec"]
    require(spec["automountServiceAccountToken"] is False, "a pod gets the account's token")
    require(spec["enableServiceLinks"] is False, "services' variables could be taken for those of flags")
    for outside in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        require(not spec.get(outside), f"{outside} is set")
    whole = spec["securityContext"]
    require(whole["runAsNonRoot"] is True, "a pod may run as root")
    for identity in ("runAsUser", "runAsGroup", "fsGroup"):
        require(isinstance(whole[identity], int) and whole[identity] > 0, f"{identity} is {whole[identity]!r}")
    require(whole["seccompProfile"] == {"type": "RuntimeDefault"}, "no seccomp profile")
    for container in containers(pod):
        context = container["securityContext"]
        require(context["readOnlyRootFilesystem"] is True, f"{container['name']} can write to its root")
        require(context["allowPrivilegeEscalation"] is False and context["privileged"] is False, f"{container['name']} can get privileges")
        require(context["capabilities"] == {"drop": ["ALL"]}, f"{container['name']} has capabilities")
        require("runAsUser" not in context, f"{container['name']} runs as another user")
        require(
            container["resources"]["requests"] and container["resources"]["limits"]["memory"], f"{container['name']} has no bound of memory"
        )
        require("command" not in container, f"{container['name']} goes past the image's entry point")
    for volume in spec.get("volumes", []):
        require("hostPath" not in volume, "a path of the node is mounted")


def paths_of(container):
    """Files and folders that arguments and variables name."""
    words = list(container["args"]) + [variable["value"] for variable in container.get("env", []) if "value" in variable]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        words += container.get(probe, {}).get("exec", {}).get("command", [])[1:]
    for word in words:
        value = word.split("=", 1)[-1]
        if value.startswith("/"):
            yield word, value


def files(thing, pod):
    """Every path of an argument is on a volume, every volume is mounted and every mount used; all is read-only but what is written."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    if thing["kind"] == "StatefulSet":
        volumes |= {claim["metadata"]["name"]: claim for claim in thing["spec"]["volumeClaimTemplates"]}
    mounted = set()
    for container in containers(pod):
        used = set()
        mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
        for word, path in paths_of(container):
            mount = next((mount for at, mount in mounts.items() if path.startswith(at + "/")), None)
            require(mount, f"{container['name']}: {word} is on no volume")
            used.add(mount["name"])
            items = volumes[mount["name"]].get("secret", {}).get("items")
            if items:
                there = {item["path"] for item in items}
                require(path.removeprefix(mount["mountPath"] + "/") in there, f"{container['name']}: {word} is none of {there}")
        for mount in mounts.values():
            name = mount["name"]
            require(name in volumes, f"{container['name']} mounts {name}, which is no volume")
            require(name in used, f"{container['name']} mounts {name} and does not use it")
            require("subPath" not in mount, f"{name} would never be renewed")
            written = name in WRITTEN.get(container["name"], set())
            require(
                mount.get("readOnly", False) is not written, f"{container['name']}: {name} is mounted for writing, or cannot be written"
            )
            mounted.add(name)
    require(mounted == set(volumes), f"volumes that nobody mounts: {set(volumes) - mounted}")
    for name, volume in volumes.items():
        require("secret" not in volume or volume["secret"]["defaultMode"] == 0o440, f"{name} can be read by others")


def nothing_secret(pod, values):
    given = [variable["name"] for variable in values.get("extraEnv", [])]
    for container in containers(pod):
        own = [variable for variable in container.get("env", []) if variable["name"] not in given]
        # Whose certificates the service takes, which no flag says.
        is_told = container["name"] == "loyaltyd" and values.get("trust", {}).get("existingSecret")
        wanted = [{"name": "SSL_CERT_FILE", "value": "/etc/loyaltyd/trust/ca.crt"}] if is_told else []
        require(own == wanted, f"{container['name']} has variables of the chart's: {own}")
        require("envFrom" not in container, f"{container['name']} takes variables from an object")


def secrets_stay(things):
    for thing in things:
        require(thing["kind"] == "Secret" or not is_planted(thing), f"{thing['kind']} {thing['metadata']['name']} holds what is secret")


def server_of(things):
    stateful = only(things, "StatefulSet")
    return stateful, stateful["spec"]["template"], stateful["spec"]["template"]["spec"]["containers"][0]


def flag(container, name):
    found = [word.split("=", 1)[1] for word in container["args"] if word.startswith(f"--{name}=")]
    return found[0] if found else None


def stateful_set(things, values):
    stateful, pod, container = server_of(things)
    spec = stateful["spec"]
    restoring = values.get("restore", {}).get("enabled", False)
    require(spec["replicas"] == (0 if restoring else 1), f"{spec['replicas']} replicas")
    require(spec["podManagementPolicy"] == "Parallel", "an upgrade would wait for a pod that is never ready")
    require(
        spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "the ledger goes with the release",
    )
    require(len(spec["volumeClaimTemplates"]) == 1, "more than one claim")
    services = {service["metadata"]["name"]: service for service in of_kind(things, "Service")}
    require(services[spec["serviceName"]]["spec"]["clusterIP"] == "None", "the StatefulSet's service is not headless")
    drain = int(flag(container, "drain-seconds"))
    require(pod["spec"]["terminationGracePeriodSeconds"] >= drain + 10, "the pod is killed before its store is written out")
    require(
        "--insecure" in container["args"] or (flag(container, "tls-cert") and flag(container, "access")), "serves without TLS or access"
    )
    require(re.fullmatch(r"[0-9a-f]{64}", pod["metadata"]["annotations"]["checksum/programs"]), "no checksum of the rule books")
    books = [word for word in container["args"] if word.startswith("--program=")]
    require(len(books) == len(values.get("programs", {})), f"rule books given: {books}")
    if books:
        data = only([thing for thing in things if thing["metadata"]["name"].endswith("-programs")], "ConfigMap")["data"]
        require({word.rsplit("/", 1)[1] for word in books} == set(data), "other rule books than in the ConfigMap")
        require(data == {f"{name}.yaml": text for name, text in values["programs"].items()}, "a rule book was changed on its way")


def probes(things, values):
    _, _, container = server_of(things)
    tls = flag(container, "tls-cert") is not None
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[name]
        if "grpc" in probe:
            require(not tls and flag(container, "health") != "closed", f"{name}: the kubelet cannot call that")
            require(probe["grpc"]["port"] == int(flag(container, "listen").rsplit(":", 1)[1]), f"{name} asks another port")
            continue
        command = probe["exec"]["command"]
        require(command[:2] == ["/loyaltyd", "status"], f"{name} runs {command}")
        server = next(word.split("=", 1)[1] for word in command if word.startswith("--server="))
        scheme, host, port = re.fullmatch(r"(https?)://(\[::1\]|[^:]+):(\d+)", server).groups()
        require((scheme == "https") == tls, f"{name} asks by {scheme}")
        require(port == flag(container, "listen").rsplit(":", 1)[1], f"{name} asks another port")
        require(
            host == ("[::1]" if flag(container, "listen").startswith("[::]") else "127.0.0.1"), f"{name} asks {host}, which is not this pod"
        )
        require(tls == any(word.startswith("--server-name=") for word in command), f"{name} does not know the certificate's name")
        require(flag(container, "health") != "closed" or any(word.startswith("--api-key-file=") for word in command), f"{name} has no key")
    startup, readiness, liveness = container["startupProbe"], container["readinessProbe"], container["livenessProbe"]
    room = startup["periodSeconds"] * startup["failureThreshold"]
    wanted = values.get("probes", {}).get("startupSeconds", 14400)
    require(room >= min(wanted, 300), f"a start has {room} s")
    require(liveness["failureThreshold"] * liveness["periodSeconds"] >= 30, "the pod is restarted at once")
    require(
        readiness["failureThreshold"] <= liveness["failureThreshold"] or liveness["periodSeconds"] >= 300, "restarted before it is unready"
    )


def ports(things):
    stateful, pod, container = server_of(things)
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    require(named["grpc"] == int(flag(container, "listen").rsplit(":", 1)[1]), "the port of gRPC is not the one that is listened on")
    metrics = flag(container, "metrics-listen")
    require((metrics is None) == ("metrics" not in named), "a port of metrics without metrics, or the other way round")
    if metrics:
        require(named["metrics"] == int(metrics.rsplit(":", 1)[1]), "the port of metrics is not the one that is listened on")
    reached = set()
    for service in of_kind(things, "Service"):
        require(selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"]), "a service finds no pod")
        for port in service["spec"]["ports"]:
            require(port["targetPort"] in named, f"a service leads to {port['targetPort']}")
            require(port["appProtocol"], "no appProtocol")
            headless = service["spec"].get("clusterIP") == "None"
            require(not headless or port["port"] == named[port["targetPort"]], "a headless service names a port where nobody listens")
            reached.add(port["targetPort"])
    require(reached == set(named), f"ports without a service: {set(named) - reached}")


def selectors(things):
    stateful, pod, _ = server_of(things)
    labels = pod["metadata"]["labels"]
    require(selects(stateful["spec"]["selector"], labels), "the StatefulSet does not find its pod")
    others = [other["metadata"]["labels"] for thing, other in pods(things) if thing["kind"] != "StatefulSet"]
    of_server = [stateful["spec"]["selector"]] + [{"matchLabels": service["spec"]["selector"]} for service in of_kind(things, "Service")]
    for budget in of_kind(things, "PodDisruptionBudget"):
        require(selects(budget["spec"]["selector"], labels), "the budget does not find the pod")
        of_server.append(budget["spec"]["selector"])
    for selector in of_server:
        require(not any(selects(selector, other) for other in others), f"{selector} finds a job's pod too")


def network(things, values):
    policies = of_kind(things, "NetworkPolicy")
    if values.get("networkPolicy", {}).get("enabled", True) is False:
        require(not policies, "a network policy")
        return
    for thing, pod in pods(things):
        mine = [policy for policy in policies if selects(policy["spec"]["podSelector"], pod["metadata"]["labels"])]
        types = {kind for policy in mine for kind in policy["spec"]["policyTypes"]}
        require(types == {"Ingress", "Egress"}, f"the pod of {thing['kind']} is open: {types}")
    for rule in (rule for policy in policies for way in ("ingress", "egress") for rule in policy["spec"].get(way, [])):
        require(rule.get("from") or rule.get("to"), f"everybody may: {rule}")
        require(rule["ports"], f"every port: {rule}")
    _, pod, container = server_of(things)
    labels = pod["metadata"]["labels"]
    mine = [policy["spec"] for policy in policies if selects(policy["spec"]["podSelector"], labels)]
    require(len(mine) == 1, f"{len(mine)} network policies of the service")
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    entered = {port["port"] for rule in mine[0]["ingress"] for port in rule["ports"]}
    require(entered <= set(named.values()) and named["grpc"] in entered, f"ports open: {entered}")
    clients = values.get("networkPolicy", {}).get("clients", [{"podSelector": {}}])
    callers = next(rule["from"] for rule in mine[0]["ingress"] if rule["ports"][0]["port"] == named["grpc"])
    require(callers[1:] == clients, f"other callers than were named: {callers[1:]}")
    for thing, other in pods(things):
        if other["metadata"]["labels"][COMPONENT] in ("backup", "test"):
            require(selects(callers[0]["podSelector"], other["metadata"]["labels"]), f"{thing['kind']} cannot call")
            ways = [
                rule
                for policy in policies
                if selects(policy["spec"]["podSelector"], other["metadata"]["labels"])
                for rule in policy["spec"]["egress"]
            ]
            require(
                any(
                    selects(peer.get("podSelector", {}), labels) and rule["ports"][0]["port"] == named["grpc"]
                    for rule in ways
                    for peer in rule["to"]
                ),
                "a job cannot reach the service",
            )
    out = {port["port"] for rule in mine[0]["egress"] for port in rule["ports"]}
    asked = bool(values.get("otlp", {}).get("endpoint")) or bool(values.get("networkPolicy", {}).get("jwks"))
    require(bool(out) == asked and (53 in out) == asked, f"the service may call ports {out}")


def backup(things, values):
    enabled = values.get("backup", {}).get("enabled", False)
    require(len(of_kind(things, "CronJob")) == enabled, "a CronJob without backups, or the other way round")
    if not enabled:
        return
    job = only(things, "CronJob")
    require(job["spec"]["concurrencyPolicy"] == "Forbid", "two backups at once")
    pod = pod_of(job)
    (take,), (verify,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    require(take["args"][0] == "backup" and verify["args"][:2] == ["backup", "verify"], "no backup, or none verified")
    require(flag(take, "to") == verify["args"][2] and flag(take, "keys-to") == flag(verify, "keys"), "verified is another one")
    server = flag(take, "server")
    _, _, container = server_of(things)
    require(server.startswith("https:") == (flag(container, "tls-cert") is not None), f"the backup calls {server}")
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    require(len(set(claims)) == 2, f"backup and keys are on {claims}")
    with_credentials = {"--api-key-file", "--client-cert"} & {word.split("=")[0] for word in take["args"]}
    require(with_credentials or "--admin-from-anywhere" in container["args"], "the backup is refused")
    require((flag(container, "operator-key") is None) == (flag(verify, "operator-key") is None), "verifying needs the operator's key")
    if not values["backup"].get("server"):
        host, port = re.fullmatch(r"https?://([^:]+):(\d+)", server).groups()
        services = {f"{thing['metadata']['name']}.{thing['metadata']['namespace']}.svc": thing for thing in of_kind(things, "Service")}
        require(int(port) in [found["port"] for found in services[host]["spec"]["ports"]], f"nobody is at {server}")


def restore(things, values):
    jobs = of_kind(things, "Job")
    enabled = values.get("restore", {}).get("enabled", False)
    require(len(jobs) == enabled, "a job without a restore, or the other way round")
    kept = {
        claim["metadata"]["name"]: claim["metadata"]["annotations"]["helm.sh/resource-policy"]
        for claim in of_kind(things, "PersistentVolumeClaim")
    }
    require(set(kept.values()) <= {"keep"}, f"claims that go with the release: {kept}")
    if not enabled:
        return
    stateful, _, container = server_of(things)
    (job,) = jobs
    pod = pod_of(job)
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    template = stateful["spec"]["volumeClaimTemplates"][0]
    expected = f"{template['metadata']['name']}-{stateful['metadata']['name']}-0"
    require(claims["data"] == expected, f"restored into {claims['data']}, and served from {expected}")
    require(flag(pod["spec"]["containers"][0], "to") == flag(container, "data"), "restored into another folder than is served")
    require(
        not of_kind(things, "CronJob") or only(things, "CronJob")["spec"]["suspend"] is True, "backups go on while the ledger is restored"
    )
    made = [claim for claim in of_kind(things, "PersistentVolumeClaim") if claim["metadata"]["name"] == expected]
    require(len(made) == values["restore"].get("createClaim", False), f"claims of the ledger made: {len(made)}")
    require(not made or made[0]["spec"] == template["spec"], "the claim that is made is not as the StatefulSet's")


def monitoring(things, values, namespace):
    """Kubernetes has no schemas of these: they are the Prometheus operator's and Grafana's."""
    wanted = values.get("metrics", {})
    for kind, key in (("ServiceMonitor", "serviceMonitor"), ("PrometheusRule", "prometheusRule")):
        found = of_kind(things, kind)
        require(len(found) == wanted.get(key, {}).get("enabled", False), f"{len(found)} of kind {kind}")
        for thing in found:
            require(thing["apiVersion"] == "monitoring.coreos.com/v1", f"{kind} of {thing['apiVersion']}")
            require(wanted[key].get("labels", {}).items() <= thing["metadata"]["labels"].items(), f"{kind} is not found by its labels")
    for monitor in of_kind(things, "ServiceMonitor"):
        spec = monitor["spec"]
        require(set(spec) == {"jobLabel", "namespaceSelector", "selector", "endpoints"}, f"fields of a ServiceMonitor: {set(spec)}")
        require(spec["namespaceSelector"] == {"matchNames": [namespace]}, "scraped in another namespace")
        found = [service for service in of_kind(things, "Service") if selects(spec["selector"], service["metadata"]["labels"])]
        require(len(found) == 1, f"the monitor finds {len(found)} services")
        require(found[0]["metadata"]["labels"][spec["jobLabel"]] == "loyaltyd", "the alert rules do not know the job")
        (endpoint,) = spec["endpoints"]
        require(set(endpoint) == {"port", "path", "scheme", "interval", "scrapeTimeout"}, f"fields of an endpoint: {set(endpoint)}")
        require(endpoint["port"] in [port["name"] for port in found[0]["spec"]["ports"]], "the monitor's port is none of the service")
    for rules in of_kind(things, "PrometheusRule"):
        require(set(rules["spec"]) == {"groups"} and rules["spec"]["groups"], "no groups of rules")
        names = [group["name"] for group in rules["spec"]["groups"]]
        require(len(names) == len(set(names)), "groups of the same name")
        for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
            require(("alert" in rule) != ("record" in rule) and rule["expr"], f"no rule: {rule}")
            allowed = {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"}
            require(set(rule) <= allowed, f"unknown in a rule: {set(rule) - allowed}")
    boards = [thing for thing in of_kind(things, "ConfigMap") if "grafana_dashboard" in thing["metadata"]["labels"]]
    require(len(boards) == wanted.get("dashboard", {}).get("enabled", False), f"{len(boards)} dashboards")
    for board in boards:
        (text,) = board["data"].values()
        require(json.loads(text)["panels"], "a dashboard without panels")


def certificate(things, values):
    enabled = values.get("tls", {}).get("certManager", {}).get("enabled", False)
    found = of_kind(things, "Certificate")
    require(len(found) == enabled, f"{len(found)} certificates")
    for thing in found:
        spec = thing["spec"]
        require(
            thing["apiVersion"] == "cert-manager.io/v1" and set(spec["issuerRef"]) == {"name", "kind", "group"},
            "no Certificate of cert-manager's",
        )
        _, pod, container = server_of(things)
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        require(volumes["tls"]["secret"]["secretName"] == spec["secretName"], "the certificate goes elsewhere than it is mounted from")
        require(
            all(len(name) <= 253 for name in spec["dnsNames"]) and len(spec["dnsNames"]) == len(set(spec["dnsNames"])),
            "names of the certificate",
        )
        expected = [word.split("=")[1] for word in container["livenessProbe"]["exec"]["command"] if word.startswith("--server-name=")]
        for job in of_kind(things, "CronJob"):
            take = pod_of(job)["spec"]["initContainers"][0]
            expected.append(flag(take, "server-name") or re.match(r"https://([^:]+):", flag(take, "server")).group(1))
        require(set(expected) <= set(spec["dnsNames"]), f"probes and backup expect {expected}")
