// swift-tools-version: 6.2
import PackageDescription

// Stands apart because it runs in a container beside the lab: it is built there, in seconds, and imports nothing of what it judges.
let package = Package(
    name: "lab",
    targets: [
        .target(name: "LabControl"),
        .testTarget(name: "LabTests", dependencies: ["LabControl"]),
    ]
)
