"""Values that the chart is rendered with: each feature alone, all of them, odd names, several namespaces."""

import base64

import readme
import yaml
from chart import ROOT, merged

# Planted in what is secret; must be nowhere but in an object of kind Secret.
MARK = "planted-7f3a91"
BOOK = (ROOT / "examples" / "programs" / "vietnam.yaml").read_text()

TRIAL = {"insecure": True}
SAFE = {"tls": {"existingSecret": "loyalty-cert"}, "access": {"existingSecret": "loyalty-access"}}
PEER = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tracing"}},
    "podSelector": {"matchLabels": {"app": "collector"}},
}
ISSUED = {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}, "access": {"existingSecret": "loyalty-access"}}
BACKUP_KEY = {"enabled": True, "credentials": {"apiKey": {"existingSecret": "backup-key"}}}
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["nvme"]}]}]
        }
    },
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}}
        ]
    },
}

README = yaml.safe_load(readme.example())

# On top of TRIAL.
ALONE = {
    "as it comes": {},
    "names": {"nameOverride": "points", "commonLabels": {"team": "crm", "example.com/cost": "1"}},
    "whole name": {"fullnameOverride": "a" * 40},
    "image by digest": {
        "image": {"repository": "registry.example.com:5000/shop/loyaltyd", "tag": "1.2.3", "digest": "sha256:" + "0a" * 32}
    },
    "private registry": {"image": {"pullSecrets": ["registry"], "pullPolicy": "Always"}},
    "other ports": {"listen": {"port": 6000, "address": "[::]"}, "service": {"port": 443}, "metrics": {"port": 7000}},
    "load balancer": {"service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}, "appProtocol": "grpc"}},
    "operator key": {"operatorKey": {"existingSecret": "operator", "key": "wrap"}},
    "trust": {"trust": {"existingSecret": "authorities", "key": "bundle.pem"}, "otlp": {"endpoint": "https://collector.tracing.svc:4317"}},
    "rule books": {"programs": {"vietnam": BOOK, "b": "program_id: b\n# {{ not a template }} $(nor this)\n"}},
    "sandbox": {"sandbox": True},
    "volume": {
        "storage": {
            "size": "1.5Ti",
            "storageClassName": "nvme",
            "accessMode": "ReadWriteOncePod",
            "folder": "restored-1",
            "annotations": {"a/b": "c"},
        }
    },
    "times": {"drainSeconds": 0, "storeSeconds": 3600},
    "large numbers": {
        "waitingBytes": 1 << 36,
        "queue": 1_000_000,
        "threads": 64,
        "compression": False,
        "podSecurity": {"runAsUser": 1_000_680_000},
    },
    "log": {"log": {"filter": "info,loyaltyd::grpc=debug", "format": "human"}},
    "limits": {
        "limits": {
            "maxRequestBytes": 4 << 20,
            "requestMemoryBytes": 64 << 20,
            "maxHeaderBytes": 16384,
            "maxStreams": 128,
            "maxConnections": 10_000,
            "handshakeSeconds": 10,
            "credentialSeconds": 30,
            "keepaliveSeconds": 30,
            "maxCallSeconds": 3600,
            "requestsPerSecond": 1000000,
            "stallSeconds": 30,
            "maxResets": 1024,
            "maxConnectionsPerAddress": 2000,
            "maxHandshakes": 1000,
        }
    },
    "gRPC-Web": {"grpcWeb": {"enabled": True, "corsOrigins": ["https://shop.example.com", "http://localhost:8080"]}},
    "more flags": {
        "extraArgs": ["--segment-bytes=1048576"],
        "extraEnv": [{"name": "TZ", "value": "UTC"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    },
    "no metrics": {"metrics": {"enabled": False}},
    "monitor": {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "rules": {"metrics": {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "dashboard": {"metrics": {"dashboard": {"enabled": True, "annotations": {"grafana_folder": "Loyalty"}}}},
    "traces": {"otlp": {"endpoint": "http://collector.tracing.svc:4317", "sampleRatio": 0.05}, "networkPolicy": {"otlp": [PEER]}},
    "traces by TLS": {
        "otlp": {"endpoint": "https://traces.example.com", "sampleRatio": 0},
        "networkPolicy": {"otlp": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "otlpPorts": [8443]},
    },
    "jwks": {"networkPolicy": {"jwks": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}},
    "no network policy": {"networkPolicy": {"enabled": False}},
    "closed to all": {"networkPolicy": {"clients": [], "monitoring": []}},
    "no budget": {"podDisruptionBudget": {"enabled": False}},
    "drains wait": {"podDisruptionBudget": {"maxUnavailable": 0}},
    "probes by exec": {"probes": {"by": "exec", "startupSeconds": 60, "periodSeconds": 300, "livenessSeconds": 30}},
    "account": {"serviceAccount": {"name": "shared", "annotations": {"a": "b"}}},
    "no account": {"serviceAccount": {"create": False}},
    "resources": {"resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"memory": "6Gi", "cpu": "1500m"}}},
    "placed": {
        "nodeSelector": {"disk": "nvme"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "crm", "effect": "NoSchedule"}],
        "affinity": AFFINITY,
        "priorityClassName": "tills",
        "updateStrategy": "OnDelete",
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}}
        ],
        "podLabels": {"team": "crm"},
        "podAnnotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        "commonLabels": {"team": "all"},
    },
    "backup from anywhere": {"adminFromAnywhere": True, "backup": {"enabled": True}},
    "restore": {"restore": {"enabled": True}},
}

# By themselves.
WHOLE = {
    "safe": SAFE,
    "the README's": README,
    "mesh encrypts": {"insecure": True, "access": {"existingSecret": "loyalty-access", "key": "people.yml"}},
    "mesh authenticates": {"insecure": True, "tls": {"existingSecret": "loyalty-cert"}},
    "inline access": {"tls": {"existingSecret": "c"}, "access": {"inline": f"principals: []\n# {MARK}\n"}},
    "issued": ISSUED,
    "issued, other name": merged(
        ISSUED, {"tls": {"serverName": "loyalty.example.com", "certManager": {"dnsNames": ["*.shop.example.com"]}}}
    ),
    "public CA": merged(SAFE, {"tls": {"serverName": "loyalty.example.com", "ca": {"systemRoots": True}}}),
    "other CA": merged(SAFE, {"tls": {"ca": {"existingSecret": "trust", "key": "bundle.pem"}, "clientCa": {"existingSecret": "clients"}}}),
    "closed": merged(SAFE, {"health": "closed", "reflection": "closed", "probes": {"apiKey": {"existingSecret": "probe-key", "key": "k"}}}),
    "closed without TLS": {
        "insecure": True,
        "access": {"existingSecret": "a"},
        "health": "closed",
        "probes": {"apiKey": {"existingSecret": "probe-key"}},
    },
    "IPv6": merged(SAFE, {"listen": {"address": "[::]"}}),
    "IPv6 by exec without TLS": {"insecure": True, "listen": {"address": "[::]"}, "probes": {"by": "exec"}},
    "backup by key": merged(ISSUED, {"backup": BACKUP_KEY, "operatorKey": {"existingSecret": "operator"}}),
    "backup by certificate": merged(
        SAFE,
        {
            "tls": {"clientCa": {"existingSecret": "clients"}},
            "backup": {
                "enabled": True,
                "timeZone": "Asia/Ho_Chi_Minh",
                "schedule": "@hourly",
                "suspend": True,
                "server": "https://loyalty.example.com:443",
                "compression": False,
                "credentials": {"clientCertificate": {"existingSecret": "backup-cert"}},
                "claim": {"existingClaim": "nfs-a"},
                "keysClaim": {"existingClaim": "nfs-b"},
            },
        },
    ),
    "backup through a mesh": {
        "insecure": True,
        "access": {"existingSecret": "a"},
        "backup": BACKUP_KEY,
        "probes": {"apiKey": {"existingSecret": "k"}},
    },
    "backup, other name": merged(SAFE, {"tls": {"serverName": "loyalty.example.com"}, "backup": BACKUP_KEY}),
    "backup without network policy": merged(SAFE, {"backup": BACKUP_KEY, "networkPolicy": {"enabled": False}}),
    "restore into a new volume": merged(
        SAFE,
        {
            "backup": BACKUP_KEY,
            "operatorKey": {"existingSecret": "operator"},
            "restore": {"enabled": True, "createClaim": True, "until": "2026-03-01T14:00:00+07:00", "folder": "ledger-2"},
        },
    ),
    "restore to a commit": merged(TRIAL, {"restore": {"enabled": True, "until": 1_204_332_111}}),
    "within another chart": merged(SAFE, {"global": {"anything": {"goes": 1}}}),
}

EVERYTHING = merged(
    *(
        values
        for name, values in ALONE.items()
        if name
        not in (
            "sandbox",
            "no metrics",
            "no network policy",
            "closed to all",
            "no budget",
            "account",
            "no account",
            "restore",
            "backup from anywhere",
            "whole name",
        )
    ),
    WHOLE["closed"],
    ISSUED,
    WHOLE["other CA"],
    {"tls": {"existingSecret": ""}},
    {"backup": BACKUP_KEY},
)

# Helm takes these as names of releases.
RELEASES = ["loyalty", "loyaltyd", "a", "7-eleven", "shop.example.com", "x" * 53, "a.b", "a-b", "x" * 52 + "y", "x" * 50 + "-yz", "1"]
NAMESPACES = ["default", "shop", "n" * 63]


def cases():
    """Name, values, release, namespace."""
    for name, values in ALONE.items():
        yield name, merged(TRIAL, values), "loyalty", "shop"
    for name, values in WHOLE.items():
        yield name, values, "loyalty", "shop"
    yield "everything", EVERYTHING, "loyalty", "shop"
    for release in RELEASES:
        yield f"everything, release {release}", EVERYTHING, release, "shop"
        yield f"restore, release {release}", WHOLE["restore into a new volume"], release, "shop"
    for namespace in NAMESPACES:
        yield f"everything, namespace {namespace}", EVERYTHING, "loyalty", namespace


def is_planted(thing):
    """In the text of an object, also encoded as secrets are."""
    text = str(thing)
    return MARK in text or base64.b64encode(MARK.encode()).decode().rstrip("=") in text
