/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ONE list of refusals, an X-macro so that daemon and client read the same rows:
 *
 *   X(CODE, NAME, ERRNO, EXIT_STATUS, REMEDY)
 *
 * NAME follows "org.vfiod1.Error." on the bus; ERRNO is what C callers get; EXIT_STATUS is vfioctl's (1 is
 * any other failure, 2 wrong usage, 3 daemon not reachable; 10 and up are these rows, and never change
 * meaning); REMEDY is shown to people behind the reason. */

#define VFIOD_ERROR_TABLE(X)                                                                                 \
    X(INVALID_NAME, "InvalidName", EINVAL, 10, "Write it like pci:0000:06:0d.0; 'vfioctl list' shows them.") \
    X(INVALID_ARGUMENT, "InvalidArgument", EINVAL, 11, "See org.vfiod1(5) for what the call takes.")         \
    X(UNKNOWN_OPTION, "UnknownOption", EINVAL, 12, "See org.vfiod1(5) for the options of this version.")     \
    X(TOO_MANY_DEVICES, "TooManyDevices", E2BIG, 13, "Make several claims.")                                 \
    X(NO_SUCH_DEVICE, "NoSuchDevice", ENODEV, 14, "'vfioctl list' shows what there is.")                     \
    X(NO_SUCH_GROUP, "NoSuchGroup", ENOENT, 15, "'vfioctl list --groups' shows what there is.")              \
    X(NO_SUCH_CLAIM, "NoSuchClaim", ENOENT, 16, "'vfioctl status' shows the claims.")                        \
    X(ACCESS_DENIED, "AccessDenied", EACCES, 17,                                                             \
            "The operator can allow it with a rule in /etc/vfiod/policy.d, see vfiod-policy(5).")            \
    X(POLICY_BROKEN, "PolicyBroken", EACCES, 18,                                                             \
            "The operator must mend the policy files ('vfioctl status' lists the errors) and reload.")       \
    X(NOT_OWNER, "NotOwner", EPERM, 19, "Only the owner of a claim and root may do this.")                   \
    X(DEVICE_CLAIMED, "DeviceClaimed", EBUSY, 20,                                                            \
            "Wait for the claim to end, or ask its owner; 'vfioctl status' shows who holds what.")           \
    X(DEVICE_QUARANTINED, "DeviceQuarantined", EBUSY, 21,                                                    \
            "The operator must look at it: 'vfioctl status DEVICE' tells why, 'vfioctl release' lifts it.")  \
    X(GROUP_IN_USE, "GroupInUse", EBUSY, 22, "Stop the program that opened it without vfiod.")               \
    X(GROUP_NOT_VIABLE, "GroupNotViable", EBUSY, 23,                                                         \
            "Unbind the siblings, claim them too, or let the rule park them (\"siblings\": \"park\").")      \
    X(NO_IOMMU_GROUP, "NoIommuGroup", ENXIO, 24,                                                             \
            "Turn the IOMMU on in firmware and on the kernel command line (intel_iommu=on).")                \
    X(HOST_CRITICAL, "HostCritical", EBUSY, 25,                                                              \
            "End that use first (unmount it, remove the address, stop the program), or choose another.")     \
    X(BACKEND_UNAVAILABLE, "BackendUnavailable", EOPNOTSUPP, 26,                                             \
            "Ask for another backend; 'vfioctl status' shows what the kernel offers.")                       \
    X(NODE_MISSING, "NodeMissing", ENXIO, 27,                                                                \
            "Look at /dev/vfio: the kernel announced a node that is not there or is not this device's.")     \
    X(RESET_UNSUPPORTED, "ResetUnsupported", EOPNOTSUPP, 28,                                                 \
            "The rule can accept that with \"reset\": \"optional\".")                                        \
    X(BIND_FAILED, "BindFailed", EIO, 29, "The kernel log tells more; everything was put back.")             \
    X(OPEN_FAILED, "OpenFailed", EIO, 30, "The kernel log tells more; everything was put back.")             \
    X(DEVICE_GONE, "DeviceGone", ENODEV, 31, "It was unplugged, or somebody unbound it.")                    \
    X(TIMED_OUT, "TimedOut", ETIMEDOUT, 32,                                                                  \
            "The kernel does not come back from a write; 'vfioctl status' shows the device.")                \
    X(LIMIT_EXCEEDED, "LimitExceeded", EDQUOT, 33, "Release claims, or wait for calls to finish.")           \
    X(SHUTTING_DOWN, "ShuttingDown", ESHUTDOWN, 34, "Call again: the daemon is started anew.")               \
    X(INTERNAL, "Internal", EIO, 35, "The journal of vfiod.service tells more.")                             \
    X(DEVICE_CHANGED, "DeviceChanged", EPERM, 36,                                                            \
            "The operator must look at the card, and then write the tag anew or put the card back.")         \
    X(NOT_AUTHORIZED, "NotAuthorized", EACCES, 37,                                                           \
            "Somebody who may must say yes: ask again where polkit can ask, or ask the operator.")           \
    X(REASON_REQUIRED, "ReasonRequired", EINVAL, 38, "Say what it is for (--reason).")                       \
    X(HOST_TAINTED, "HostTainted", EPERM, 39,                                                                \
            "'vfioctl taint' shows what weakens the host, and since when.")                                  \
    X(NOIOMMU_DISABLED, "NoiommuDisabled", EOPNOTSUPP, 40,                                                   \
            "The operator decides that with \"host\": {\"noiommu\": …}, see vfiod-policy(5).")               \
    X(CAPABILITY_REQUIRED, "CapabilityRequired", EPERM, 41,                                                  \
            "Run it with the capability, or let the operator waive that in the rule.")                       \
    X(SIMULATION, "Simulation", EROFS, 42, "Ask the daemon of a real host.")
