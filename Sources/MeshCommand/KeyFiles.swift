import Foundation
import MeshCore

/// Key files on disk.
enum KeyFiles {
    /// Reads a key file, or a pipe such as `/dev/stdin`.
    /// - Throws: a configuration's failure that says what to do. A file that others may read is refused: whoever reads it is a member.
    static func read(_ path: String) throws -> KeyFile {
        let (bytes, _) = try load(path)
        do { return try KeyFile(parsing: bytes) } catch { throw CommandFailure.configuration("\(path): \(error.description)") }
    }

    private static func load(_ path: String) throws -> (bytes: [UInt8], status: stat) {
        let descriptor = Foundation.open(path == "-" ? "/dev/stdin" : path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandFailure.configuration("the key file \(path) can't be read (\(String(cString: strerror(errno)))): \(advice)")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else {
            throw CommandFailure.configuration("the key file \(path) is a directory: \(advice)")
        }
        if status.st_mode & S_IFMT == S_IFREG, status.st_mode & 0o077 != 0 {
            throw CommandFailure.configuration(
                "the key file \(path) is open to others (mode \(String(status.st_mode & 0o777, radix: 8))): run chmod 600 \(path)")
        }
        return (try bytes(of: descriptor, path), status)
    }

    /// Changes a file: it is replaced whole or stays as it was, and keeps its mode and owner.
    static func change<Value>(_ path: String, _ body: (inout KeyFileText) throws -> Value) throws -> Value {
        func failure(_ what: String) -> CommandFailure {
            .configuration("the key file \(path) \(what) (\(String(cString: strerror(errno)))): it stays as it was")
        }
        // Through links, or the link would be replaced and the file stay.
        guard let resolved = realpath(path, nil) else {
            throw CommandFailure.configuration("the key file \(path) can't be read (\(String(cString: strerror(errno)))): \(advice)")
        }
        defer { free(resolved) }
        let target = String(cString: resolved)
        let (bytes, status) = try load(target)
        guard status.st_mode & S_IFMT == S_IFREG else { throw CommandFailure.configuration("\(path) is no file that could be changed") }
        var value: Value
        var text: KeyFileText
        do {
            text = try KeyFileText(bytes)
            value = try body(&text)
        } catch let error as KeyFileError { throw CommandFailure.configuration("\(path): \(error.description)") }
        let draft = "\(target).\(getpid())"
        try write(text.bytes, to: draft)
        defer { unlink(draft) }
        guard chown(draft, status.st_uid, status.st_gid) == 0, chmod(draft, status.st_mode & 0o7777) == 0 else {
            throw failure("can't be given to its owner")
        }
        guard rename(draft, target) == 0 else { throw failure("can't be replaced") }
        return value
    }

    /// Whether there is a file that can change while a process runs.
    static func canBeReadAgain(_ path: String) -> Bool {
        var status = stat()
        return path != "-" && !path.hasPrefix("/dev/") && stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    private static let advice = "make one with (umask 077; sessionmesh keygen > mesh.key) and say --key-file mesh.key"

    /// One byte more than a key file may have, so that a longer one is seen to be longer.
    private static func bytes(of descriptor: CInt, _ path: String) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: KeyFile.bytesMax + 1)
        var count = 0
        while count < bytes.count {
            let read = bytes.withUnsafeMutableBytes { Foundation.read(descriptor, $0.baseAddress?.advanced(by: count), $0.count - count) }
            if read < 0, errno == EINTR { continue }
            guard read >= 0 else {
                throw CommandFailure.configuration("the key file \(path) can't be read (\(String(cString: strerror(errno)))): \(advice)")
            }
            if read == 0 { break }
            count += read
        }
        return Array(bytes.prefix(count))
    }

    /// The key file of this user's mesh on loopback, made when it is missing. Two agents that start at once end up with one file.
    static func readOrMake(in directory: RunDirectory) throws -> (keys: KeyFile, isNew: Bool) {
        let path = directory.keyFile
        guard access(path, F_OK) != 0 else { return (try read(path), false) }
        let draft = "\(path).\(getpid())"
        try write(Array(newText().utf8), to: draft)
        defer { unlink(draft) }
        // A link appears whole or not at all, and never replaces what another agent made meanwhile.
        guard link(draft, path) == 0 || errno == EEXIST else {
            throw CommandFailure.configuration("\(path) can't be made (\(String(cString: strerror(errno)))): say --key-file")
        }
        return (try read(path), true)
    }

    static func newText() -> String {
        var random = SystemRandomNumberGenerator()
        return KeyFile.generate(using: &random).text
    }

    /// With mode 0600 from its first moment.
    static func write(_ bytes: [UInt8], to path: String) throws {
        unlink(path)
        let descriptor = Foundation.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandFailure.configuration("\(path) can't be made (\(String(cString: strerror(errno)))): say --key-file")
        }
        defer { close(descriptor) }
        guard Foundation.write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else {
            throw CommandFailure.configuration("\(path) can't be written: is the disk full?")
        }
    }
}
